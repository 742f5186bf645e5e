//! Billing periods as dates and as moments. Pure.
//!
//! A period is half-open: it begins with the company's local day `start` and ends where its day `end` begins,
//! which is where the next one begins. Odd days: in some zones a clock change skips midnight (São Paulo until
//! 2018), or midnight comes twice (Havana); Samoa had no 30 December 2011 at all. A day begins at its first
//! moment, and one that didn't exist where the day after it begins.

use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::kernel::clock::Micros;

/// The days of a month on which a period may begin, so that every month has one.
const BILLING_DAYS: std::ops::RangeInclusive<i64> = 1..=28;

/// The dates of one period: `end` isn't part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    pub start: Date,
    pub end: Date,
}

impl Period {
    /// The period that begins on `start`, a company's first day or its last period's end, and lasts until the
    /// next billing day: a month, unless it is the first one or the billing day was changed. None only at the
    /// end of the calendar, the year 9999.
    pub fn from(start: Date, billing_day: i64) -> Option<Period> {
        let day = i8::try_from(billing_day.clamp(*BILLING_DAYS.start(), *BILLING_DAYS.end())).ok()?;
        let this_month = start.first_of_month().checked_add((day - 1).days()).ok()?;
        let end = if this_month > start {
            this_month
        } else {
            let next_month = start.first_of_month().checked_add(1.month()).ok()?;
            next_month.checked_add((day - 1).days()).ok()?
        };
        Some(Period { start, end })
    }
}

/// The company's local day at a moment.
pub fn date_of(at: Micros, zone: &TimeZone) -> Date {
    at.timestamp().to_zoned(zone.clone()).date()
}

/// The first moment of a day. None only at the ends of the calendar.
pub fn beginning_of(date: Date, zone: &TimeZone) -> Option<Micros> {
    // A midnight that was skipped becomes the moment behind the gap, one that came twice the first of the two.
    Some(date.to_zoned(zone.clone()).ok()?.timestamp().into())
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    /// Zones whose clocks do odd things, and some that don't.
    const ZONES: [&str; 14] = [
        "UTC",
        "America/New_York",
        "America/Sao_Paulo",
        "America/Havana",
        "America/Toronto",
        "America/St_Johns",
        "Africa/Casablanca",
        "Africa/Cairo",
        "Asia/Beirut",
        "Asia/Kolkata",
        "Australia/Lord_Howe",
        "Europe/Berlin",
        "Pacific/Apia",
        "Pacific/Kiritimati",
    ];

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn at(text: &str) -> Micros {
        text.parse::<jiff::Timestamp>().unwrap().into()
    }

    #[test]
    fn the_first_period_ends_on_the_next_billing_day() {
        for (start, billing_day, end) in [
            (date(2019, 2, 10), 10, date(2019, 3, 10)),
            (date(2019, 2, 9), 10, date(2019, 2, 10)),
            (date(2019, 2, 11), 10, date(2019, 3, 10)),
            (date(2019, 12, 31), 1, date(2020, 1, 1)),
            (date(2020, 1, 29), 28, date(2020, 2, 28)),
            (date(2020, 1, 31), 31, date(2020, 2, 28)),
            (date(2020, 1, 31), 0, date(2020, 2, 1)),
        ] {
            assert_eq!(Period::from(start, billing_day), Some(Period { start, end }));
        }
        assert_eq!(Period::from(Date::MAX, 1), None);
    }

    #[test]
    fn days_begin_where_their_zone_lets_them() {
        for (name, day, moment) in [
            ("Europe/Berlin", date(2026, 3, 29), "2026-03-28T23:00:00Z"),
            ("Europe/Berlin", date(2026, 3, 30), "2026-03-29T22:00:00Z"),
            // Midnight was skipped: the day began at one o'clock.
            ("America/Sao_Paulo", date(2018, 11, 4), "2018-11-04T03:00:00Z"),
            // Midnight came twice: the day began with the first.
            ("America/Havana", date(2025, 11, 2), "2025-11-02T04:00:00Z"),
            // There was no such day.
            ("Pacific/Apia", date(2011, 12, 29), "2011-12-29T10:00:00Z"),
            ("Pacific/Apia", date(2011, 12, 30), "2011-12-30T10:00:00Z"),
            ("Pacific/Apia", date(2011, 12, 31), "2011-12-30T10:00:00Z"),
        ] {
            assert_eq!(beginning_of(day, &zone(name)), Some(at(moment)), "{name} {day}");
        }
    }

    proptest! {
        #[test]
        fn periods_touch_and_cover_all_time(
            name in prop::sample::select(&ZONES[..]),
            billing_day in 1_i64..=28,
            created in 0_i64..4_000_000_000,
            later in 0_i64..100_000_000,
        ) {
            let zone = zone(name);
            let created = Micros(created * 1_000_000);
            let looked_for = Micros(created.0 + later * 1_000_000);
            let mut period = Period::from(date_of(created, &zone), billing_day).unwrap();
            prop_assert!(beginning_of(period.start, &zone).unwrap() <= created);
            let mut holding = 0;
            for nth in 0..45 {
                let days = period.start.until(period.end).unwrap().get_days();
                let days_min = if nth == 0 { 1 } else { 28 };
                prop_assert!((days_min..=31).contains(&days), "{} days", days);
                prop_assert_eq!(i64::from(period.end.day()), billing_day);
                let (from, until) =
                    (beginning_of(period.start, &zone).unwrap(), beginning_of(period.end, &zone).unwrap());
                // A clock change is an hour or so, Samoa's skipped day a whole one.
                let odd_s = (until.0 - from.0) / 1_000_000 - i64::from(days) * 86_400;
                prop_assert!(from < until && (-86_400..=7_200).contains(&odd_s), "{} s", odd_s);
                if from <= looked_for && looked_for < until {
                    holding += 1;
                    prop_assert!((period.start..period.end).contains(&date_of(looked_for, &zone)));
                }
                let next = Period::from(period.end, billing_day).unwrap();
                prop_assert_eq!(next.start, period.end);
                period = next;
            }
            prop_assert_eq!(holding, 1);
        }
    }
}
