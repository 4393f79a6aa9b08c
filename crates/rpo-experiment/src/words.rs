//! Settings in words.

/// `guidance 3`, with the interval if only a part of the trajectory is guided.
pub fn describe_guidance(scale: f64, interval: Option<[f64; 2]>) -> String {
    match interval {
        Some([from, to]) => format!("guidance {scale} from {from} to {to} of the trajectory"),
        None => format!("guidance {scale}"),
    }
}
