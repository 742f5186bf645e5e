//! What the nouns' errors are to a client. A text that a noun wrote for the people of a company is shown
//! to them; everything else is the server's own business.

use super::{Kind, Problem};
use crate::carriers::accounts;
use crate::carriers::client::CarrierError;
use crate::carriers::provision;
use crate::db;
use crate::webhooks::replays;
use crate::{messages, trackers};

/// What is told of a destination that calls can't go to, wherever it is found out.
pub const DESTINATION_IS_TRACKED: &str = "is a tracking number: calls would go round";

impl From<trackers::Error> for Problem {
    fn from(error: trackers::Error) -> Problem {
        use trackers::Error;
        let text = error.to_string();
        match error {
            Error::NumberInUse(_) | Error::BeingReleased(_) | Error::NotFree { .. } => {
                Problem::new(Kind::Conflict, text)
            }
            Error::NumberIsDestination(_) | Error::PoolFull => Problem::field("numbers", text),
            Error::DestinationIsTracked => Problem::field("destination", DESTINATION_IS_TRACKED),
            Error::Db(error) => error.into(),
        }
    }
}

impl From<accounts::Error> for Problem {
    fn from(error: accounts::Error) -> Problem {
        use accounts::Error;
        match error {
            Error::NoSuchCompany => Problem::not_found(),
            Error::Duplicate | Error::NumbersInUse | Error::NumbersReleasing => {
                Problem::new(Kind::Conflict, error.to_string())
            }
            Error::Db(error) => error.into(),
        }
    }
}

impl From<messages::outgoing::Error> for Problem {
    fn from(error: messages::outgoing::Error) -> Problem {
        use messages::outgoing::Error;
        match error {
            Error::NoSuchTracker => Problem::field("tracker_id", "is not a tracker of this company"),
            Error::NoNumber | Error::OptedOut => Problem::new(Kind::Unprocessable, error.to_string()),
            Error::Db(error) => error.into(),
        }
    }
}

impl From<replays::Error> for Problem {
    fn from(error: replays::Error) -> Problem {
        use replays::Error;
        match error {
            Error::NotFound => Problem::not_found(),
            Error::Running(_) | Error::Done => Problem::new(Kind::Conflict, error.to_string()),
            Error::Db(error) => error.into(),
        }
    }
}

impl From<CarrierError> for Problem {
    fn from(error: CarrierError) -> Problem {
        let text = error.to_string();
        match error {
            // What the carrier won't do, however often it is asked.
            CarrierError::Auth
            | CarrierError::NotFound
            | CarrierError::Invalid { .. }
            | CarrierError::NumberUnavailable
            | CarrierError::NoNumbers
            | CarrierError::OptedOut
            | CarrierError::GeoBlocked
            | CarrierError::NotSmsCapable => Problem::new(Kind::Unprocessable, text),
            CarrierError::RateLimited { .. }
            | CarrierError::ForeignHost
            | CarrierError::Unreachable(_)
            | CarrierError::Transient { .. }
            | CarrierError::Unexpected(_) => Problem::new(Kind::Carrier, text),
        }
    }
}

impl From<provision::Error> for Problem {
    fn from(error: provision::Error) -> Problem {
        use provision::Error;
        let text = error.to_string();
        match error {
            Error::NoCarrier | Error::Growing(_) | Error::TooManyOrders | Error::OrderEnded => {
                Problem::new(Kind::Conflict, text)
            }
            Error::WhichCarrier => {
                Problem::field("carrier_id", "is required: the company has several carrier accounts")
            }
            Error::NoSuchCarrier => Problem::field("carrier_id", "is not a carrier account of this company"),
            Error::NoSuchTracker | Error::NoSuchOrder => Problem::not_found(),
            Error::Count | Error::AttachCount | Error::WrongType { .. } => Problem::field("numbers", text),
            Error::AreaCode => Problem::field("area_code", "must be three digits"),
            Error::NotOwned(_)
            | Error::HooksIgnored(_)
            | Error::TooFew { .. }
            | Error::Outrun
            | Error::Taken => Problem::new(Kind::Unprocessable, text),
            Error::TookTooLong => Problem::new(Kind::Carrier, text),
            Error::MaybeSent(_) => Problem::new(Kind::Carrier, text).but_perhaps_done(),
            Error::SentUnwritten { .. } => Problem::internal(text).but_perhaps_done(),
            Error::Account(error) => error.into(),
            Error::Tracker(error) => error.into(),
            Error::Message(error) => error.into(),
            Error::Carrier(error) => error.into(),
            Error::Db(error) => error.into(),
        }
    }
}

impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Problem {
        match error.downcast::<db::Error>() {
            Ok(error) => error.into(),
            Err(error) => Problem::internal(format!("{error:#}")),
        }
    }
}
