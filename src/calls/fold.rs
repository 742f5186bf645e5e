//! Text as it is searched: folded here and not by the database, whose engines fold differently (SQLite's
//! `lower` knows ASCII only).

/// What a search looks through: texts, folded, each on a line of its own so that no search runs over two.
pub(super) fn searchable(texts: &[&str]) -> String {
    fold(&texts.join("\n"))
}

/// The text in small letters, without the common accents.
fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).map(without_accent).collect()
}

/// The letter that a person types who can't, or doesn't bother to, type the accent. Latin letters of the
/// languages around us; others stay as they are.
fn without_accent(c: char) -> char {
    match c {
        'à'..='å' | 'ā' | 'ă' | 'ą' => 'a',
        'ç' | 'ć' | 'č' => 'c',
        'ď' => 'd',
        'è'..='ë' | 'ē' | 'ė' | 'ę' | 'ě' => 'e',
        'ì'..='ï' | 'ī' | 'į' => 'i',
        'ł' => 'l',
        'ñ' | 'ń' | 'ň' => 'n',
        'ò'..='ö' | 'ø' | 'ō' | 'ő' => 'o',
        'ř' => 'r',
        'ś' | 'š' | 'ş' => 's',
        'ť' | 'ţ' => 't',
        'ù'..='ü' | 'ū' | 'ů' | 'ű' => 'u',
        'ý' | 'ÿ' => 'y',
        'ź' | 'ż' | 'ž' => 'z',
        other => other,
    }
}

/// A pattern for `like … escape '\'` that finds the words anywhere. A phone number may be typed as people
/// write one: `(270) 282-2733` finds `+12702822733`.
pub(super) fn pattern(search: &str) -> String {
    // PostgreSQL takes no NUL in a text, and no text here has one.
    let folded = fold(&search.trim().replace('\0', ""));
    let is_number = folded.chars().any(|c| c.is_ascii_digit())
        && folded.chars().all(|c| c.is_ascii_digit() || " +-.()".contains(c));
    let wanted = if is_number { folded.chars().filter(char::is_ascii_digit).collect() } else { folded };
    let mut out = String::from("%");
    for c in wanted.chars() {
        if matches!(c, '%' | '_' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('%');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searching_ignores_case_accents_and_the_way_numbers_are_written() {
        assert_eq!(fold("São PAULO Łódź ÑANDÚ"), "sao paulo lodz nandu");
        assert_eq!(pattern(" (270) 282-2733 "), "%2702822733%");
        assert_eq!(pattern("+1 270"), "%1270%");
        assert_eq!(pattern("100% _sure\\"), "%100\\% \\_sure\\\\%");
        assert_eq!(pattern("Route 66"), "%route 66%");
        assert_eq!(pattern("-"), "%-%");
    }
}
