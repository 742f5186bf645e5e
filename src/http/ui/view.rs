//! How things are written on pages: times in the company's zone, lengths of time, and the frame around a page.

use jiff::tz::TimeZone;

use super::assets;
use crate::companies::Company;
use crate::kernel::clock::Micros;
use crate::kernel::id::CompanyId;
use crate::kernel::page::Page;
use crate::users::User;
use crate::webhooks::Webhook;

/// The parts of a company's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Overview,
    Calls,
    Messages,
    Voicemails,
    Trackers,
    Webhooks,
    Events,
    Usage,
    Settings,
}

impl Section {
    const ALL: [Section; 9] = [
        Section::Overview,
        Section::Calls,
        Section::Messages,
        Section::Voicemails,
        Section::Trackers,
        Section::Webhooks,
        Section::Events,
        Section::Usage,
        Section::Settings,
    ];

    /// What people call it, its path, and its icon as `parts.html` calls it.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Section::Overview => ("Overview", "overview", "overview"),
            Section::Calls => ("Calls", "calls", "phone"),
            Section::Messages => ("Messages", "messages", "message"),
            Section::Voicemails => ("Voicemails", "voicemails", "voicemail"),
            Section::Trackers => ("Trackers", "trackers", "tracker"),
            Section::Webhooks => ("Webhooks", "webhooks", "webhook"),
            Section::Events => ("Events", "events", "event"),
            Section::Usage => ("Usage", "usage", "usage"),
            Section::Settings => ("Settings", "settings", "settings"),
        }
    }
}

/// A link of the navigation.
pub(super) struct Tab {
    pub title: &'static str,
    pub icon: &'static str,
    pub url: String,
    pub is_current: bool,
}

/// The company that a page is about.
pub(super) struct Place {
    pub company_id: CompanyId,
    pub name: String,
    pub tabs: Vec<Tab>,
}

/// What is around a page: its title, who is logged in, the navigation.
pub(super) struct Frame {
    pub title: String,
    /// "" if nobody is logged in.
    pub email: String,
    pub place: Option<Place>,
    /// Webhooks of the company that we stopped: its people are told, whatever page they look at.
    pub stopped: Vec<Webhook>,
    /// What the page before had to tell; "" for nothing.
    pub notice: String,
    /// Whoever looks may change things.
    pub can_write: bool,
}

impl Frame {
    /// Around a page that anybody may see.
    pub(super) fn bare(title: &str) -> Frame {
        Frame {
            title: title.to_owned(),
            email: String::new(),
            place: None,
            stopped: Vec::new(),
            notice: String::new(),
            can_write: false,
        }
    }

    pub(super) fn of(title: impl Into<String>, user: &User, at: Option<(&Company, Section)>) -> Frame {
        let place = at.map(|(company, current)| Place {
            company_id: company.id,
            name: company.name.clone(),
            tabs: Section::ALL
                .into_iter()
                .map(|section| {
                    let (title, path, icon) = section.words();
                    let url = format!("/companies/{}/{path}", company.id);
                    Tab { title, icon, url, is_current: section == current }
                })
                .collect(),
        });
        Frame {
            title: title.into(),
            email: user.email.clone(),
            place,
            stopped: Vec::new(),
            notice: String::new(),
            can_write: user.can_write,
        }
    }

    pub(super) fn style_url(&self) -> &'static str {
        &assets::STYLE_URL
    }

    pub(super) fn icon_url(&self) -> &'static str {
        &assets::ICON_URL
    }

    pub(super) fn script_url(&self) -> &'static str {
        &assets::SCRIPT_URL
    }
}

/// The way to the other pages of a list.
pub(super) struct Pages {
    /// None on the first page.
    pub newest: Option<String>,
    /// None on the last page.
    pub older: Option<String>,
}

impl Pages {
    /// `filter` is the query that all pages have, `next` the cursor of the next one.
    pub(super) fn new(path: &str, filter: &str, page: Page, next: Option<String>) -> Pages {
        let url = |parts: [&str; 2]| {
            let query = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("&");
            if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
        };
        Pages {
            newest: page.after.map(|_| url([filter, ""])),
            older: next.map(|cursor| url([filter, &format!("after={cursor}")])),
        }
    }

    pub(super) fn is_first(&self) -> bool {
        self.newest.is_none()
    }
}

/// A time for a page.
pub(super) struct Moment {
    /// For machines: RFC 3339 in UTC.
    pub utc: String,
    /// Of the zone: `2026-03-09 14:05:12`.
    pub local: String,
    /// What the zone is called at that time: `EST` or `EDT`.
    pub zone: String,
}

impl Moment {
    pub(super) fn new(at: Micros, zone: &TimeZone) -> Moment {
        let local = at.timestamp().to_zoned(zone.clone());
        Moment {
            utc: at.rfc3339(),
            local: local.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            zone: local.strftime("%Z").to_string(),
        }
    }
}

/// A length of time as on a clock: `0:07`, `12:30`, `1:02:03`.
pub(super) fn clock(seconds: u32) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// One of our words for people: `no_answer` is read as "no answer".
pub(super) fn word(text: &str) -> String {
    text.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_zone() {
        let zone = TimeZone::get("America/New_York").expect("the zone is known");
        let moment = |text: &str| {
            let at: jiff::Timestamp = text.parse().expect("it is a time");
            let moment = Moment::new(at.into(), &zone);
            format!("{} {}", moment.local, moment.zone)
        };
        assert_eq!(moment("2026-03-08T06:59:59Z"), "2026-03-08 01:59:59 EST");
        assert_eq!(moment("2026-03-08T07:00:00Z"), "2026-03-08 03:00:00 EDT");
    }

    #[test]
    fn the_pages_of_a_list_keep_its_filter() {
        let urls = |filter, after, next: Option<&str>| {
            let page = Page { limit: 2, after, ..Page::default() };
            let pages = Pages::new("/webhooks/7", filter, page, next.map(str::to_owned));
            (pages.newest.unwrap_or_default(), pages.older.unwrap_or_default())
        };
        assert_eq!(urls("", None, None), (String::new(), String::new()));
        assert_eq!(urls("", None, Some("abc")), (String::new(), "/webhooks/7?after=abc".to_owned()));
        assert_eq!(urls("", Some(1), None), ("/webhooks/7".to_owned(), String::new()));
        let (newest, older) = urls("state=held", Some(1), Some("abc"));
        assert_eq!(newest, "/webhooks/7?state=held");
        assert_eq!(older, "/webhooks/7?state=held&after=abc");
    }

    #[test]
    fn lengths_are_read_as_on_a_clock() {
        for (seconds, text) in
            [(0, "0:00"), (7, "0:07"), (750, "12:30"), (3600, "1:00:00"), (3723, "1:02:03")]
        {
            assert_eq!(clock(seconds), text);
        }
    }
}
