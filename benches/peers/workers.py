"""A worker process: pinned, asked over its pipes, and stopped while it is not its turn."""
import ctypes
import os
import resource
import select
import signal
import subprocess


# Seconds until a worker that does not answer is given up. Importing torch on a busy machine takes its time.
PATIENCE = 300


class Failed(Exception):
    """Why a worker cannot do what it was asked."""


def begin(cpus):
    """In the new process: pinned, and gone when its parent is. A stopped process would not notice that its input ended."""
    os.sched_setaffinity(0, cpus)
    parent_death_signal = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
    ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)


class Worker:
    def __init__(self, command, threads, cpus, log):
        environment = dict(os.environ, PEERS_THREADS=str(threads), TF_CPP_MIN_LOG_LEVEL="3", RUST_BACKTRACE="0",
                           # Freed memory is kept: else a peer that returns a new array pays page faults in every call.
                           MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_="100000000000")
        for name in ("OMP", "MKL", "OPENBLAS", "RAYON", "RTEN"):
            environment[f"{name}_NUM_THREADS"] = str(threads)
        with open(log, "a") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1, env=environment,
                preexec_fn=lambda: begin(cpus))
        self.cpus, self.pinned = cpus, {}
        self.hello = self.ask("hello")
        self.version = self.hello.get("version", "")

    def ask(self, request, **fields):
        """Sends a request and waits for the answer's fields. The process runs only in between."""
        line = "\t".join([request, *(f"{name}={value}" for name, value in fields.items())])
        try:
            self.process.send_signal(signal.SIGCONT)
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
                self.end()
                raise Failed(f"no answer to {request} in {PATIENCE} s")
            answer = self.process.stdout.readline()
        except OSError:
            answer = ""
        if not answer:
            self.end()
            raise Failed(f"ended with status {self.process.returncode} on {request}")
        # A pool that spins for more work would take the time of the next one.
        self.process.send_signal(signal.SIGSTOP)
        status, *parts = answer.rstrip("\n").split("\t")
        if status != "ok":
            raise Failed("\t".join(parts))
        return dict(part.split("=", 1) for part in parts if "=" in part)

    def cpu_seconds(self):
        """What the process has used."""
        try:
            with open(f"/proc/{self.process.pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            return 0.0

    def thread_seconds(self):
        """What each of the process's threads has used."""
        used, tasks = {}, f"/proc/{self.process.pid}/task"
        try:
            for thread in os.listdir(tasks):
                with open(f"{tasks}/{thread}/schedstat") as file:
                    used[int(thread)] = int(file.read().split()[0]) * 1e-9
        except OSError:
            pass  # The thread or the process has ended.
        return used

    def spread(self, seconds):
        """Runs the layer for a while, then puts the threads that worked on a processor each, until as many have worked as there are
        processors.

        A woken thread begins where its waker runs, and two that share a processor may do so for as long as a measurement takes.
        """
        if len(self.pinned) == len(self.cpus) or len(self.cpus) < 2:
            return
        before = self.thread_seconds()
        self.ask("time", seconds=seconds)
        worked = {thread: used - before.get(thread, 0.0) for thread, used in self.thread_seconds().items()}
        for thread in sorted(worked, key=worked.get, reverse=True):
            free = self.cpus - set(self.pinned.values())
            if free and thread not in self.pinned and worked[thread] > 0.2 * seconds:
                self.pinned[thread] = min(free)
                try:
                    os.sched_setaffinity(thread, {self.pinned[thread]})
                except ProcessLookupError:
                    pass  # It has ended.

    def drop(self):
        """Lets go of the prepared layer; a worker that cannot is ended."""
        try:
            self.ask("drop")
        except Failed:
            self.end()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Workers:
    """Workers by name, thread count and role (ours may be its own peer), started when first needed."""

    def __init__(self, commands, cpus, logs):
        self.commands, self.cpus, self.logs, self.running = commands, cpus, logs, {}

    def get(self, name, threads, role="peer"):
        key = (name, threads, role)
        worker = self.running.get(key)
        if worker is None or worker.process.poll() is not None:
            try:
                command = self.commands.of(name, threads)
            except RuntimeError as error:
                raise Failed(str(error)) from error
            worker = Worker(command, threads, set(self.cpus[:threads]), os.path.join(self.logs, f"{name}.log"))
            self.running[key] = worker
        return worker

    def end(self):
        for worker in self.running.values():
            worker.end()


def busy_seconds(cpus):
    """What everybody together, the hypervisor too, has used of these processors."""
    total = 0
    with open("/proc/stat") as file:
        for line in file:
            name, *counts = line.split()
            if name in {f"cpu{cpu}" for cpu in cpus}:
                user, nice, system, _idle, _wait, irq, softirq, steal = map(int, counts[:8])
                total += user + nice + system + irq + softirq + steal
    return total / os.sysconf("SC_CLK_TCK")


def ended_seconds():
    """What programs that this one ran, and that have ended, have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
