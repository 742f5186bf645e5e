//! Lists, page by page, with the URIs that lead from one to the next.

use serde_json::{Map, Value, json};

use super::{Reply, RestRequest};

/// As at the real carrier.
const PAGE_SIZE_DEFAULT: usize = 50;
const PAGE_SIZE_MAX: usize = 1000;

/// One page of a list, under the name of its resource. `items` are all of them, in order.
pub fn page(request: &RestRequest, name: &str, items: Vec<Value>) -> Reply {
    let number = |name| request.find(name).and_then(|value| value.parse::<usize>().ok());
    let page_size = number("PageSize").map_or(PAGE_SIZE_DEFAULT, |size| size.clamp(1, PAGE_SIZE_MAX));
    let page = number("Page").unwrap_or(0);
    let start = page.saturating_mul(page_size);
    let total = items.len();
    let shown: Vec<Value> = items.into_iter().skip(start).take(page_size).collect();
    let end = start + shown.len().saturating_sub(1);
    let uri = |page: usize| Value::String(page_uri(request, page, page_size));
    let next = if start + page_size < total { uri(page + 1) } else { Value::Null };
    let previous = match page.checked_sub(1) {
        Some(previous) => uri(previous),
        None => Value::Null,
    };
    let mut body = Map::new();
    body.insert("page".to_owned(), json!(page));
    body.insert("page_size".to_owned(), json!(page_size));
    body.insert("start".to_owned(), json!(start));
    body.insert("end".to_owned(), json!(end));
    body.insert("first_page_uri".to_owned(), uri(0));
    body.insert("next_page_uri".to_owned(), next);
    body.insert("previous_page_uri".to_owned(), previous);
    body.insert("uri".to_owned(), uri(page));
    body.insert(name.to_owned(), Value::Array(shown));
    Reply::Ok(Value::Object(body))
}

fn page_uri(request: &RestRequest, page: usize, page_size: usize) -> String {
    let filters =
        request.query.iter().filter(|(name, _)| !["Page", "PageSize", "PageToken"].contains(&name.as_str()));
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(filters)
        .append_pair("PageSize", &page_size.to_string())
        .append_pair("Page", &page.to_string())
        .finish();
    format!("{}?{query}", request.uri(&request.path))
}
