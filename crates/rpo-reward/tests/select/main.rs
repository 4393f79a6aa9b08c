//! Selection and stopping: a table of cases, and the properties that several rules on one trajectory rely on.

mod cases;
mod common;
mod properties;
