//! What a visit is credited to, as it is kept: a snapshot that later changes of rules don't rewrite.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::source::Source;
use crate::kernel::clock::Micros;

/// A source at a moment. Unknown is "".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    /// Microseconds since 1970.
    pub at: i64,
    pub channel: String,
    pub source: String,
    pub medium: String,
    pub campaign: String,
    pub term: String,
    pub content: String,
    pub campaign_id: String,
    pub utm_source: String,
    pub keyword: String,
    pub search_engine: String,
    pub referrer: String,
    pub landing_page: String,
    pub click_ids: BTreeMap<String, String>,
}

impl Touch {
    pub fn new(source: &Source, landing_page: &str, at: Micros) -> Touch {
        let click_ids = source.click_ids.iter().map(|id| (id.kind.as_str().to_owned(), id.value.clone()));
        Touch {
            at: at.0,
            channel: source.channel.as_str().to_owned(),
            source: source.source.clone(),
            medium: source.utm.medium.clone(),
            campaign: source.utm.campaign.clone(),
            term: source.utm.term.clone(),
            content: source.utm.content.clone(),
            campaign_id: source.utm.id.clone(),
            utm_source: source.utm.source.clone(),
            keyword: source.keyword.clone(),
            search_engine: source.search_engine.clone(),
            referrer: source.referrer.clone(),
            landing_page: landing_page.to_owned(),
            click_ids: click_ids.collect(),
        }
    }

    /// Nothing led to the visit that we know of.
    pub fn is_direct(&self) -> bool {
        self.channel == "direct"
    }

    /// Whether both are the same visit's source, whatever page it is told of by.
    pub fn is_same_source(&self, other: &Touch) -> bool {
        let key = |t: &Touch| (t.channel.clone(), t.source.clone(), t.campaign.clone(), t.click_ids.clone());
        key(self) == key(other)
    }

    /// As kept in a column.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers always become JSON")
    }

    /// What a column holds; nothing known if it can't be read.
    pub fn parse(text: &str) -> Touch {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// The touch as the API shows it.
    pub fn to_json(&self) -> Json {
        let mut json = json!({
            "at": Micros(self.at).rfc3339(),
            "source_channel": self.channel,
            "source_keyword": self.keyword,
            "source_referrer": self.referrer,
            "landing_page": self.landing_page,
        });
        self.add_parameters_to(&mut json);
        json
    }

    /// Adds to an object what the contract doesn't have of a source.
    pub fn add_parameters_to(&self, object: &mut Json) {
        for (key, value) in [
            ("source", &self.source),
            ("utm_source", &self.utm_source),
            ("utm_medium", &self.medium),
            ("utm_campaign", &self.campaign),
            ("utm_term", &self.term),
            ("utm_content", &self.content),
            ("utm_id", &self.campaign_id),
        ] {
            object[key] = json!(value);
        }
        object["click_ids"] = json!(self.click_ids);
    }
}
