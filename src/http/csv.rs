//! Tables as CSV (RFC 4180), safe to open in a spreadsheet: a cell that would be taken for a formula begins with an
//! apostrophe (OWASP, CSV Injection), because much of what stands in tables was written by strangers.

/// The media type, with the character set that spreadsheets otherwise guess.
pub const MEDIA_TYPE: &str = "text/csv; charset=utf-8";

/// Appends a line.
pub fn push_line<'a>(text: &mut String, cells: impl IntoIterator<Item = &'a str>) {
    for (n, cell) in cells.into_iter().enumerate() {
        if n > 0 {
            text.push(',');
        }
        push_cell(text, cell);
    }
    text.push_str("\r\n");
}

fn push_cell(text: &mut String, cell: &str) {
    let guard = if is_formula(cell) { "'" } else { "" };
    if guard.is_empty() && !cell.contains(['"', ',', '\r', '\n']) {
        return text.push_str(cell);
    }
    text.push('"');
    text.push_str(guard);
    text.push_str(&cell.replace('"', "\"\""));
    text.push('"');
}

/// A number is none, nor is a phone number: nobody can write anything else with digits and a sign.
fn is_formula(cell: &str) -> bool {
    let begins = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let is_number = cell.trim_start_matches(['+', '-']).bytes().all(|b| b.is_ascii_digit() || b == b'.');
    begins && !(is_number && cell.len() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be_and_no_formulas() {
        for (cell, wanted) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "\"'=1+1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("-2+3", "\"'-2+3\""),
            ("+", "\"'+\""),
            ("\t=1", "\"'\t=1\""),
            ("+12025550143", "+12025550143"),
            ("-12.5", "-12.5"),
        ] {
            let mut line = String::new();
            push_line(&mut line, [cell]);
            assert_eq!(line, format!("{wanted}\r\n"), "{cell:?}");
        }
    }

    #[test]
    fn a_line_has_its_cells_in_order() {
        let mut text = String::new();
        push_line(&mut text, ["a", "b"]);
        push_line(&mut text, ["1", ""]);
        assert_eq!(text, "a,b\r\n1,\r\n");
    }
}
