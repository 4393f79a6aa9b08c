//! The report: one self-contained HTML file that a person enjoys reading.

pub mod data;
mod picture;
mod table;

pub use data::ReportData;
