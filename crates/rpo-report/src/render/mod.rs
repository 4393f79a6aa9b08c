//! A [`Table`](crate::table::Table) as text that fits 80 columns, CSV and LaTeX.

mod csv;
mod latex;
mod text;
