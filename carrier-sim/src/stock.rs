//! The numbers the carrier has on sale, and where a number is. Decides both from one table of real area codes; the lines
//! are 555-01xx, the range reserved for fiction, so that no number of this carrier can be anybody's.
//!
//! Deterministic: every area code has its 100 lines, in order, as long as nobody owns them.

/// An area code of the North American Numbering Plan and the city that stands for it here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    pub code: &'static str,
    pub city: &'static str,
    pub region: &'static str,
    pub postal_code: &'static str,
    pub country: &'static str,
}

/// What a number costs and how far it can be called from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberType {
    Local,
    TollFree,
}

/// A number on sale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StockNumber {
    pub phone_number: String,
    pub number_type: NumberType,
    /// Absent for toll-free numbers, which are nowhere.
    pub area: Option<Area>,
}

/// What a customer is looking for; an absent field does not restrict.
#[derive(Clone, Debug, Default)]
pub struct StockQuery {
    pub area_code: Option<String>,
    /// Digits, letters of the keypad and `*` for any digit, found anywhere in the number.
    pub contains: Option<String>,
    pub region: Option<String>,
    pub locality: Option<String>,
    pub postal_code: Option<String>,
}

/// Toll-free area codes.
pub const TOLL_FREE_CODES: [&str; 7] = ["800", "833", "844", "855", "866", "877", "888"];

/// How many lines each area code has: 555-0100 to 555-0199.
const LINES_PER_CODE: u32 = 100;

/// The numbers of a country and type that fit a query, in order.
pub fn search(
    country: &str,
    number_type: NumberType,
    query: &StockQuery,
) -> impl Iterator<Item = StockNumber> {
    let areas: Vec<(&'static str, Option<Area>)> = match number_type {
        NumberType::Local => AREAS
            .iter()
            .filter(|area| area.country == country && query.admits_area(area))
            .map(|area| (area.code, Some(*area)))
            .collect(),
        NumberType::TollFree if query.names_a_place() => Vec::new(),
        NumberType::TollFree => TOLL_FREE_CODES.map(|code| (code, None)).to_vec(),
    };
    let wanted_code = query.area_code.clone();
    let pattern = query.contains.as_deref().map(Pattern::parse);
    areas
        .into_iter()
        .filter(move |(code, _)| wanted_code.as_deref().is_none_or(|wanted| wanted == *code))
        .flat_map(move |(code, area)| lines(code, number_type, area))
        .filter(move |number| pattern.as_ref().is_none_or(|pattern| pattern.is_in(&number.phone_number)))
}

/// A number of the stock, whoever owns it.
pub fn find(phone_number: &str) -> Option<StockNumber> {
    let national = phone_number.strip_prefix("+1")?;
    if national.len() != 10 || !national.is_ascii() || &national[3..8] != "55501" {
        return None;
    }
    national[8..].parse::<u32>().ok()?;
    if let Some(area) = area_of(phone_number) {
        return Some(StockNumber {
            phone_number: phone_number.to_owned(),
            number_type: NumberType::Local,
            area: Some(area),
        });
    }
    TOLL_FREE_CODES.contains(&&national[..3]).then(|| StockNumber {
        phone_number: phone_number.to_owned(),
        number_type: NumberType::TollFree,
        area: None,
    })
}

/// Where a number of the numbering plan is, as far as the table knows.
pub fn area_of(phone_number: &str) -> Option<Area> {
    let code = phone_number.strip_prefix("+1")?.get(..3)?;
    AREAS.iter().find(|area| area.code == code).copied()
}

/// Whether a text is a number in E.164: a plus, then 8 to 15 digits of which the first is not 0.
pub fn is_e164(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (8..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Whether a number is a North American one of the right length.
pub fn is_nanp(phone_number: &str) -> bool {
    is_e164(phone_number) && phone_number.starts_with("+1") && phone_number.len() == 12
}

/// A number as the carrier displays it: `(270) 555-0100`; anything not North American as it is.
pub fn friendly_name(phone_number: &str) -> String {
    match phone_number.strip_prefix("+1") {
        Some(national) if is_nanp(phone_number) => {
            format!("({}) {}-{}", &national[..3], &national[3..6], &national[6..])
        }
        Some(_) | None => phone_number.to_owned(),
    }
}

impl StockQuery {
    fn admits_area(&self, area: &Area) -> bool {
        let fits = |wanted: &Option<String>, value: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(value))
        };
        fits(&self.region, area.region)
            && fits(&self.locality, area.city)
            && fits(&self.postal_code, area.postal_code)
    }

    fn names_a_place(&self) -> bool {
        self.region.is_some() || self.locality.is_some() || self.postal_code.is_some()
    }
}

fn lines(
    code: &'static str,
    number_type: NumberType,
    area: Option<Area>,
) -> impl Iterator<Item = StockNumber> {
    (0..LINES_PER_CODE).map(move |line| StockNumber {
        phone_number: format!("+1{code}55501{line:02}"),
        number_type,
        area,
    })
}

/// A search pattern: one entry per digit, `None` matches any.
struct Pattern(Vec<Option<u8>>);

impl Pattern {
    fn parse(text: &str) -> Self {
        Self(
            text.bytes()
                .filter_map(|byte| match byte.to_ascii_uppercase() {
                    b'*' => Some(None),
                    digit @ b'0'..=b'9' => Some(Some(digit)),
                    letter @ b'A'..=b'Z' => {
                        const KEYPAD: &[u8; 26] = b"22233344455566677778889999";
                        Some(Some(KEYPAD[usize::from(letter - b'A')]))
                    }
                    _punctuation => None,
                })
                .collect(),
        )
    }

    fn is_in(&self, phone_number: &str) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let digits = phone_number.trim_start_matches('+').as_bytes();
        digits.windows(self.0.len()).any(|window| {
            window.iter().zip(&self.0).all(|(digit, wanted)| wanted.is_none_or(|wanted| wanted == *digit))
        })
    }
}

const fn area(
    code: &'static str,
    city: &'static str,
    region: &'static str,
    postal_code: &'static str,
) -> Area {
    Area { code, city, region, postal_code, country: "US" }
}

const fn canada(
    code: &'static str,
    city: &'static str,
    region: &'static str,
    postal_code: &'static str,
) -> Area {
    Area { code, city, region, postal_code, country: "CA" }
}

/// One well-known city per area code; the postal code is one of that city's.
const AREAS: [Area; 62] = [
    area("201", "Jersey City", "NJ", "07302"),
    area("202", "Washington", "DC", "20001"),
    area("203", "Bridgeport", "CT", "06604"),
    area("205", "Birmingham", "AL", "35203"),
    area("206", "Seattle", "WA", "98101"),
    area("207", "Portland", "ME", "04101"),
    area("208", "Boise", "ID", "83702"),
    area("210", "San Antonio", "TX", "78205"),
    area("212", "New York", "NY", "10001"),
    area("213", "Los Angeles", "CA", "90012"),
    area("214", "Dallas", "TX", "75201"),
    area("215", "Philadelphia", "PA", "19102"),
    area("216", "Cleveland", "OH", "44114"),
    area("270", "Bowling Green", "KY", "42101"),
    area("302", "Wilmington", "DE", "19801"),
    area("303", "Denver", "CO", "80202"),
    area("305", "Miami", "FL", "33130"),
    area("307", "Cheyenne", "WY", "82001"),
    area("312", "Chicago", "IL", "60602"),
    area("313", "Detroit", "MI", "48226"),
    area("314", "St. Louis", "MO", "63101"),
    area("317", "Indianapolis", "IN", "46204"),
    area("323", "Los Angeles", "CA", "90028"),
    area("401", "Providence", "RI", "02903"),
    area("402", "Omaha", "NE", "68102"),
    area("404", "Atlanta", "GA", "30303"),
    area("405", "Oklahoma City", "OK", "73102"),
    area("406", "Billings", "MT", "59101"),
    area("408", "San Jose", "CA", "95113"),
    area("410", "Baltimore", "MD", "21202"),
    area("414", "Milwaukee", "WI", "53202"),
    area("415", "San Francisco", "CA", "94102"),
    area("501", "Little Rock", "AR", "72201"),
    area("502", "Louisville", "KY", "40202"),
    area("503", "Portland", "OR", "97204"),
    area("504", "New Orleans", "LA", "70112"),
    area("505", "Albuquerque", "NM", "87102"),
    area("512", "Austin", "TX", "78701"),
    area("515", "Des Moines", "IA", "50309"),
    area("601", "Jackson", "MS", "39201"),
    area("602", "Phoenix", "AZ", "85003"),
    area("603", "Manchester", "NH", "03101"),
    area("605", "Sioux Falls", "SD", "57104"),
    area("612", "Minneapolis", "MN", "55401"),
    area("615", "Nashville", "TN", "37201"),
    area("617", "Boston", "MA", "02108"),
    area("619", "San Diego", "CA", "92101"),
    area("701", "Fargo", "ND", "58102"),
    area("702", "Las Vegas", "NV", "89101"),
    area("704", "Charlotte", "NC", "28202"),
    area("713", "Houston", "TX", "77002"),
    area("801", "Salt Lake City", "UT", "84101"),
    area("802", "Burlington", "VT", "05401"),
    area("803", "Columbia", "SC", "29201"),
    area("804", "Richmond", "VA", "23219"),
    area("812", "Evansville", "IN", "47708"),
    area("818", "Los Angeles", "CA", "91604"),
    area("913", "Kansas City", "KS", "66101"),
    canada("403", "Calgary", "AB", "T2P 2M5"),
    canada("416", "Toronto", "ON", "M5H 2N2"),
    canada("514", "Montreal", "QC", "H2Y 1C6"),
    canada("604", "Vancouver", "BC", "V5Z 1E5"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn query(area_code: &str) -> StockQuery {
        StockQuery { area_code: Some(area_code.to_owned()), ..StockQuery::default() }
    }

    #[test]
    fn every_area_code_has_a_hundred_fictional_lines() {
        let numbers: Vec<_> = search("US", NumberType::Local, &query("270")).collect();
        assert_eq!(numbers.len(), 100);
        assert_eq!(numbers[0].phone_number, "+12705550100");
        assert_eq!(numbers[99].phone_number, "+12705550199");
        assert_eq!(numbers[0].area.unwrap().city, "Bowling Green");
    }

    #[test]
    fn an_unknown_area_code_has_none_and_a_canadian_one_is_not_american() {
        assert_eq!(search("US", NumberType::Local, &query("999")).count(), 0);
        assert_eq!(search("US", NumberType::Local, &query("416")).count(), 0);
        assert_eq!(search("CA", NumberType::Local, &query("416")).count(), 100);
    }

    #[test]
    fn codes_are_unique() {
        let codes: std::collections::BTreeSet<_> = AREAS.iter().map(|area| area.code).collect();
        assert_eq!(codes.len(), AREAS.len());
    }

    #[test]
    fn contains_knows_wildcards_and_keypad_letters() {
        for (pattern, found) in [
            ("0142", true),
            ("270555*142", true),
            ("270-KKK-0142", true),
            ("+12705550142", true),
            ("0143", false),
        ] {
            assert_eq!(Pattern::parse(pattern).is_in("+12705550142"), found, "{pattern}");
        }
    }

    #[test]
    fn find_knows_exactly_the_stock() {
        assert_eq!(find("+18885550107").unwrap().number_type, NumberType::TollFree);
        assert_eq!(find("+12705550107").unwrap().number_type, NumberType::Local);
        for stranger in ["+12702822733", "+19995550107", "anonymous", "+1270555010x"] {
            assert_eq!(find(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn e164_is_digits_only() {
        for (text, valid) in [
            ("+12705550107", true),
            ("+442071838750", true),
            ("anonymous", false),
            ("911", false),
            ("+0123456789", false),
        ] {
            assert_eq!(is_e164(text), valid, "{text}");
        }
    }
}
