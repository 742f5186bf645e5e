//! Does a confidence of 0.7 mean that 7 of 10 are right?

use crate::score::Call;

/// Calls that were said to be about equally sure.
#[derive(Clone, Copy, Default)]
pub struct Bin {
    pub calls: u32,
    said: f64,
    right: u32,
}

impl Bin {
    pub fn said(&self) -> f64 {
        self.said / f64::from(self.calls.max(1))
    }

    pub fn right(&self) -> f64 {
        f64::from(self.right) / f64::from(self.calls.max(1))
    }
}

/// Tenths, and those that are said to be certain in a bin of their own at the end.
pub fn bins<'a>(calls: impl IntoIterator<Item = &'a Call>) -> [Bin; 11] {
    let mut bins = [Bin::default(); 11];
    for call in calls {
        let bin = &mut bins[(call.confidence.clamp(0.0, 1.0) * 10.0) as usize];
        bin.calls += 1;
        bin.said += call.confidence;
        bin.right += u32::from(call.right);
    }
    bins
}

/// The expected calibration error: how far the bins are off, by their calls.
pub fn error(bins: &[Bin]) -> f64 {
    let calls: u32 = bins.iter().map(|bin| bin.calls).sum();
    let off = |bin: &Bin| f64::from(bin.calls) * (bin.said() - bin.right()).abs();
    bins.iter().map(off).sum::<f64>() / f64::from(calls.max(1))
}
