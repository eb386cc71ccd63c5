//! Pages of memory.

/// Asks the system to keep `memory`, of which nothing was written yet, in pages of 2 MiB as far as whole ones lie within; returns
/// whether it will try to.
///
/// Of pages of 4 KiB a product of one row, which reads each weight once, looks one up every 4096 bytes, and on a virtual machine
/// each of those may read memory four times: up to 10% of the time of such a row on Zen 4. Only advice: where it
/// cannot be followed, nothing changes.
#[cfg(target_os = "linux")]
pub(crate) fn prefer_large_pages(memory: &mut [u8]) -> bool {
    let before = memory.as_ptr().align_offset(LARGE_PAGE).min(memory.len());
    let len = (memory.len() - before) / LARGE_PAGE * LARGE_PAGE;
    match memory.get_mut(before..before + len) {
        // SAFETY: the range is borrowed, whole pages, and belongs to the caller; this advice changes no byte of it.
        Some(pages) if len > 0 => unsafe { madvise(pages.as_mut_ptr().cast(), len, MADV_HUGEPAGE) == 0 },
        _ => false,
    }
}

/// There is no such advice here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn prefer_large_pages(_memory: &mut [u8]) -> bool {
    false
}

/// What a large page has on x86-64 and on most machines of arm64, in bytes.
#[cfg(target_os = "linux")]
const LARGE_PAGE: usize = 2 << 20;

/// Of `<sys/mman.h>`, on every architecture of Linux that has kernels here.
#[cfg(target_os = "linux")]
const MADV_HUGEPAGE: std::ffi::c_int = 14;

#[cfg(target_os = "linux")]
unsafe extern "C" {
    /// Of the C library that the standard library is linked with.
    fn madvise(start: *mut std::ffi::c_void, len: usize, advice: std::ffi::c_int) -> std::ffi::c_int;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_memory_keeps_its_bytes() {
        for len in [0, 1, 4096, 2 << 20, (4 << 20) - 1, 5 << 20] {
            let mut memory = vec![7_u8; len];
            for start in [0, 1, 4096].map(|start: usize| start.min(len)) {
                prefer_large_pages(&mut memory[start..]);
            }
            assert!(memory.iter().all(|&byte| byte == 7), "{len} bytes");
        }
    }

    /// An emulator of another architecture takes the advice and forgets it, hence only where tests run by themselves.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[test]
    fn the_system_marks_the_mapping_when_it_takes_the_advice() {
        let mut memory = vec![0_u8; 5 << 20];
        let taken = prefer_large_pages(&mut memory);
        let inside = memory.as_ptr() as usize + memory.len() / 2;
        let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") else {
            println!("no /proc/self/smaps here");
            return;
        };
        let mut found = None;
        let mut is_inside = false;
        for line in maps.lines() {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            let bounds =
                range.map(|(start, end)| (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16)));
            if let Some((Ok(start), Ok(end))) = bounds {
                is_inside = (start..end).contains(&inside);
            } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| is_inside) {
                found = Some(flags.split_whitespace().any(|flag| flag == "hg"));
            }
        }
        println!("advice taken: {taken}, mapping marked: {found:?}");
        if let Some(found) = found {
            assert_eq!(found, taken);
        }
    }
}
