//! The program's flags. Decides the defaults, so that a test or a demo can start a carrier without any flag and know its
//! credentials. Used by `main.rs`, and by a parent program that embeds the carrier as a subcommand.

use std::net::SocketAddr;

/// The account that exists from the start; has the shape of a real account SID.
pub const DEFAULT_ACCOUNT_SID: &str = "AC00000000000000000000000000005eed";
/// Its auth token: the password of the REST API and the key of the webhook signatures.
pub const DEFAULT_AUTH_TOKEN: &str = "5eed0000000000000000000000005eed";
/// Above this a tokio timer (1 ms) can no longer tell one virtual second from the next.
pub const SCALE_MAX: f64 = 1000.0;

/// How the simulated carrier is started.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "carrier-sim", version, about = "A simulated phone carrier (Twilio dialect)")]
pub struct Args {
    /// Where the carrier's REST API listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Where the scenario control API listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub control: SocketAddr,
    /// SID of the account that exists from the start.
    #[arg(long, default_value = DEFAULT_ACCOUNT_SID)]
    pub account_sid: String,
    /// Auth token of that account.
    #[arg(long, default_value = DEFAULT_AUTH_TOKEN)]
    pub auth_token: String,
    /// Virtual seconds per real second, above 0 and up to 1000.
    #[arg(long, default_value_t = 1.0, value_parser = parse_scale)]
    pub scale: f64,
    /// Seed of the SIDs, delays and sounds.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// End when standard input closes, so that the death of a parent ends the carrier.
    #[arg(long)]
    pub exit_with_stdin: bool,
}

impl Default for Args {
    fn default() -> Self {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            listen: any_port,
            control: any_port,
            account_sid: DEFAULT_ACCOUNT_SID.to_owned(),
            auth_token: DEFAULT_AUTH_TOKEN.to_owned(),
            scale: 1.0,
            seed: 1,
            exit_with_stdin: false,
        }
    }
}

/// Whether a scale can be kept by the clock.
pub(crate) fn scale_is_valid(scale: f64) -> bool {
    scale > 0.0 && scale <= SCALE_MAX
}

fn parse_scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if scale_is_valid(scale) => Ok(scale),
        Ok(_) | Err(_) => Err(format!("must be a number above 0 and up to {SCALE_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn no_flags_give_the_documented_defaults() {
        let args = Args::parse_from(["carrier-sim"]);
        assert_eq!(args.account_sid, DEFAULT_ACCOUNT_SID);
        assert_eq!(args.account_sid.len(), 34);
        assert_eq!(args.listen.port(), 0);
        assert!(!args.exit_with_stdin);
    }

    #[test]
    fn a_scale_the_clock_cannot_keep_is_refused() {
        for scale in ["0", "-1", "1001", "NaN", "fast"] {
            assert!(Args::try_parse_from(["carrier-sim", "--scale", scale]).is_err(), "{scale}");
        }
    }
}
