//! Chance as an argument. Secrets, tokens and event ids come from the system's generator; tests and the
//! simulation give a seed, so that a run can be repeated.

use std::sync::{Arc, Mutex};

use ring::rand::{SecureRandom, SystemRandom};

/// Where random bytes come from.
#[derive(Clone)]
pub enum Seed {
    /// The operating system's cryptographic generator.
    System(SystemRandom),
    /// A repeatable sequence for tests: never used by the product.
    Fixed(Arc<Mutex<u64>>),
}

impl Seed {
    #[expect(clippy::disallowed_methods, reason = "the one place that opens the system's generator")]
    pub fn system() -> Seed {
        Seed::System(SystemRandom::new())
    }

    /// A sequence that is the same for the same `seed`.
    pub fn fixed(seed: u64) -> Seed {
        Seed::Fixed(Arc::new(Mutex::new(seed)))
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        match self {
            Seed::System(random) => random.fill(&mut out).expect("the system's random generator works"),
            Seed::Fixed(state) => {
                let mut state = state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                for chunk in out.chunks_mut(8) {
                    chunk.copy_from_slice(&split_mix(&mut state).to_le_bytes()[..chunk.len()]);
                }
            }
        }
        out
    }

    /// A number in `0..bound`; `bound` 0 gives 0. The bias of the remainder is below 2^-32 for any bound
    /// under 2^32, which jitter and sampling don't notice.
    pub fn below(&self, bound: u64) -> u64 {
        u64::from_le_bytes(self.bytes::<8>()).checked_rem(bound).unwrap_or(0)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): one addition and two multiplications a number.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_seed_repeats_and_the_system_does_not() {
        assert_eq!(Seed::fixed(7).bytes::<20>(), Seed::fixed(7).bytes::<20>());
        assert_ne!(Seed::fixed(7).bytes::<20>(), Seed::fixed(8).bytes::<20>());
        assert_ne!(Seed::system().bytes::<20>(), Seed::system().bytes::<20>());
    }

    #[test]
    fn below_stays_below() {
        let seed = Seed::fixed(1);
        assert!((0..1000).all(|_| seed.below(7) < 7));
        assert_eq!(seed.below(0), 0);
    }
}
