//! What a layer costs, said beforehand: time and bytes from its shape and a calibration of the machine.
//!
//! The model knows how kernels cut their work (tiles, panels, pieces), and takes every number from running them: whatever a
//! kernel becomes, a new calibration follows it.

mod calibration;
mod grid;
mod measure;
mod plan;
mod predict;
mod synthetic;
mod team;
mod text;
mod workload;

pub use calibration::Calibration;
pub use predict::Prediction;
pub use workload::Workload;
