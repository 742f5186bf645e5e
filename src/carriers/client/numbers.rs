//! Phone numbers: which can be had, having one, telling the carrier what to call for it, giving it back.

use serde::Deserialize;

use super::{CarrierError, Client, lenient_text};
use crate::carriers::hook::{Hook, HookUrls};
use crate::carriers::words;
use crate::kernel::phone::{NumberType, PhoneNumber};

/// Numbers of one search at most; the carrier shows no more than about 30 anyway.
const SEARCH_LIMIT_MAX: u32 = 100;
/// A number's name at the carrier at most, in characters.
const FRIENDLY_NAME_CHARS_MAX: usize = 64;

/// Which numbers are wanted. What is None doesn't matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberQuery {
    /// ISO 3166-1 alpha-2.
    pub country: String,
    pub number_type: NumberType,
    /// Three digits, in North America.
    pub area_code: Option<String>,
    /// A state or province, as its country abbreviates it.
    pub region: Option<String>,
    /// Digits, or letters on a keypad; `*` stands for any one.
    pub contains: Option<String>,
    pub limit: u32,
}

/// A number that can be bought now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvailableNumber {
    pub number: PhoneNumber,
    /// "" where the carrier doesn't say, as for toll-free numbers.
    pub city: String,
    pub state: String,
    pub zip: String,
    pub country: String,
    /// Whether it can send and receive text messages.
    pub sms: bool,
}

/// What the carrier calls for a number. What it calls if that fails isn't set: a fallback that a person has set
/// at the carrier, with its method, stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberHooks {
    pub voice_url: String,
    pub status_callback: String,
    pub sms_url: String,
}

impl NumberHooks {
    /// The hooks of an account.
    pub fn of(urls: &HookUrls) -> NumberHooks {
        NumberHooks {
            voice_url: urls.url(Hook::Voice),
            status_callback: urls.url(Hook::CallStatus),
            sms_url: urls.url(Hook::Message),
        }
    }

    fn form(&self) -> Vec<(&str, &str)> {
        vec![
            ("VoiceUrl", &self.voice_url),
            ("VoiceMethod", "POST"),
            ("StatusCallback", &self.status_callback),
            ("StatusCallbackMethod", "POST"),
            ("SmsUrl", &self.sms_url),
            ("SmsMethod", "POST"),
        ]
    }
}

/// A number that the account has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedNumber {
    pub carrier_number_id: String,
    pub number: PhoneNumber,
    /// Something else at the carrier (a SIP trunk or an application) takes the number's calls, so that our
    /// hooks are never called: a person must take it off there.
    pub hooks_ignored: bool,
}

impl Client {
    /// Numbers that can be bought; none if there are none.
    ///
    /// # Errors
    /// [`CarrierError::NoNumbers`] if the carrier doesn't know the area code.
    pub async fn search(&self, query: &NumberQuery) -> Result<Vec<AvailableNumber>, CarrierError> {
        let country = words::country(&query.country);
        if country.is_empty() {
            let message = "the country must have two letters".to_owned();
            return Err(CarrierError::Invalid { code: None, message });
        }
        let kind = match query.number_type {
            NumberType::Local => "Local.json",
            NumberType::Tollfree => "TollFree.json",
        };
        let mut url = self.account.api_url(&["AvailablePhoneNumbers", &country, kind]);
        let limit = query.limit.clamp(1, SEARCH_LIMIT_MAX);
        url.query_pairs_mut().append_pair("PageSize", &limit.to_string()).append_pair("VoiceEnabled", "true");
        let wanted =
            [("AreaCode", &query.area_code), ("InRegion", &query.region), ("Contains", &query.contains)];
        for (name, value) in wanted {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        let found: AvailablePage = self.get(url).await?;
        let numbers = found.available_phone_numbers.into_iter().filter_map(AvailableAnswer::into_number);
        Ok(numbers.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect())
    }

    /// Buys a number and sets its hooks. Doing it twice is doing it once: if the answer got lost, or the
    /// number is gone because we have it already, it is looked up among the account's and taken over.
    ///
    /// # Errors
    /// [`CarrierError::NumberUnavailable`] if someone else has it. After an error that
    /// [is temporary](CarrierError::is_temporary) it may or may not be ours: buy again.
    pub async fn buy(
        &self,
        number: &PhoneNumber,
        hooks: &NumberHooks,
        friendly_name: &str,
    ) -> Result<OwnedNumber, CarrierError> {
        let name: String = friendly_name.chars().take(FRIENDLY_NAME_CHARS_MAX).collect();
        let mut form = vec![("PhoneNumber", number.as_str()), ("FriendlyName", &name)];
        form.extend(hooks.form());
        let url = self.account.api_url(&["IncomingPhoneNumbers.json"]);
        let error = match self.post::<OwnedAnswer>(url, &form).await {
            Ok(bought) => return bought.into_number(),
            Err(error) => error,
        };
        if !may_have_been_bought(&error) {
            return Err(error);
        }
        match self.find_owned(number).await {
            Ok(Some(owned)) => self.configure(&owned.carrier_number_id, hooks).await,
            // Whether it is ours isn't known: nobody may take it for somebody else's.
            Err(unknown) if error == CarrierError::NumberUnavailable => Err(unknown),
            Ok(None) | Err(_) => Err(error),
        }
    }

    /// The account's number, if it has it.
    ///
    /// # Errors
    /// As every request.
    pub async fn find_owned(&self, number: &PhoneNumber) -> Result<Option<OwnedNumber>, CarrierError> {
        let mut url = self.account.api_url(&["IncomingPhoneNumbers.json"]);
        url.query_pairs_mut().append_pair("PhoneNumber", number.as_str());
        let found: OwnedPage = self.get(url).await?;
        // The parameter is a pattern: other numbers may match too.
        let same =
            found.incoming_phone_numbers.into_iter().find(|owned| owned.phone_number == number.as_str());
        same.map(OwnedAnswer::into_number).transpose()
    }

    /// Sets a number's hooks.
    ///
    /// # Errors
    /// [`CarrierError::NotFound`] if the account doesn't have it.
    pub async fn configure(
        &self,
        carrier_number_id: &str,
        hooks: &NumberHooks,
    ) -> Result<OwnedNumber, CarrierError> {
        let url = self.account.api_url(&["IncomingPhoneNumbers", &format!("{carrier_number_id}.json")]);
        self.post::<OwnedAnswer>(url, &hooks.form()).await?.into_number()
    }

    /// Gives a number back to the carrier. One that is gone already counts as given back.
    ///
    /// # Errors
    /// As every request.
    pub async fn release(&self, carrier_number_id: &str) -> Result<(), CarrierError> {
        self.delete(self.account.api_url(&["IncomingPhoneNumbers", &format!("{carrier_number_id}.json")]))
            .await
    }
}

/// Whether the number may be ours in spite of the error.
fn may_have_been_bought(error: &CarrierError) -> bool {
    match error {
        CarrierError::NumberUnavailable | CarrierError::Unreachable(_) | CarrierError::Transient { .. } => {
            true
        }
        // It was bought, if what we couldn't read was the answer to that.
        CarrierError::Unexpected(_) => true,
        // 409, and the validation errors with which a carrier refuses what the account has.
        CarrierError::Invalid { .. } => true,
        CarrierError::Auth
        | CarrierError::NotFound
        | CarrierError::NoNumbers
        | CarrierError::OptedOut
        | CarrierError::GeoBlocked
        | CarrierError::NotSmsCapable
        | CarrierError::RateLimited { .. }
        | CarrierError::ForeignHost => false,
    }
}

#[derive(Deserialize)]
struct AvailablePage {
    #[serde(default)]
    available_phone_numbers: Vec<AvailableAnswer>,
}

#[derive(Deserialize)]
struct AvailableAnswer {
    #[serde(default, deserialize_with = "lenient_text")]
    phone_number: String,
    #[serde(default, deserialize_with = "lenient_text")]
    locality: String,
    #[serde(default, deserialize_with = "lenient_text")]
    region: String,
    #[serde(default, deserialize_with = "lenient_text")]
    postal_code: String,
    #[serde(default, deserialize_with = "lenient_text")]
    iso_country: String,
    #[serde(default)]
    capabilities: Capabilities,
}

/// Written in small letters in the description and in capitals by the service itself.
#[derive(Default, Deserialize)]
struct Capabilities {
    #[serde(default, alias = "SMS")]
    sms: bool,
}

impl AvailableAnswer {
    /// None if it isn't a number in E.164.
    fn into_number(self) -> Option<AvailableNumber> {
        Some(AvailableNumber {
            number: PhoneNumber::from_e164(&self.phone_number)?,
            city: words::title_case(&self.locality),
            state: self.region,
            zip: self.postal_code,
            country: words::country(&self.iso_country),
            sms: self.capabilities.sms,
        })
    }
}

#[derive(Deserialize)]
struct OwnedPage {
    #[serde(default)]
    incoming_phone_numbers: Vec<OwnedAnswer>,
}

#[derive(Deserialize)]
struct OwnedAnswer {
    sid: String,
    phone_number: String,
    #[serde(default, deserialize_with = "lenient_text")]
    trunk_sid: String,
    #[serde(default, deserialize_with = "lenient_text")]
    voice_application_sid: String,
}

impl OwnedAnswer {
    fn into_number(self) -> Result<OwnedNumber, CarrierError> {
        let number = PhoneNumber::from_e164(&self.phone_number);
        match number {
            Some(number) if crate::carriers::form::is_id(&self.sid) => {
                let hooks_ignored = !self.trunk_sid.is_empty() || !self.voice_application_sid.is_empty();
                Ok(OwnedNumber { carrier_number_id: self.sid, number, hooks_ignored })
            }
            _ => Err(CarrierError::Unexpected("answered with a number that isn't one".to_owned())),
        }
    }
}
