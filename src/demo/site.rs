//! A sample of a company's web site: three pages with the company's number and the script, as a person would paste
//! it. It runs in a process of its own. A line on its stdin is the script's tag; until it comes the pages have none.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Html;
use axum::routing::get;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;

use super::say;

/// Said once the script is on the pages.
pub(super) const SCRIPT_KNOWN: &str = "  sample site has the script";
/// The company's number as its pages write it; E.164 in [`super::script::DESTINATION`].
const NUMBER: &str = "(812) 555-0101";

type Script = Arc<Mutex<String>>;

/// Serves until stdin ends.
///
/// # Errors
/// It can't listen.
pub async fn run(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    say(&format!("site listening on http://{}/", listener.local_addr()?));
    let script = Script::default();
    let home = |State(script): State<Script>| async move { page("", &tag(&script)) };
    let other =
        |State(script): State<Script>, Path(name): Path<String>| async move { page(&name, &tag(&script)) };
    let app = Router::new().route("/", get(home)).route("/{page}", get(other)).with_state(script.clone());
    let reading = async move {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            *script.lock().unwrap_or_else(PoisonError::into_inner) = line;
            say(SCRIPT_KNOWN);
        }
    };
    axum::serve(listener, app).with_graceful_shutdown(reading).await?;
    Ok(())
}

fn tag(script: &Script) -> String {
    script.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn page(name: &str, tag: &str) -> Html<String> {
    let (title, text) = match name {
        "" => ("Riverside Plumbing", "Leaks, water heaters and blocked drains, day and night."),
        "prices" => ("Prices", "A visit is $79. We tell you the price before we begin."),
        "contact" => ("Contact", "We answer the telephone ourselves, from 7 in the morning."),
        _ => ("Not found", "There is no such page."),
    };
    Html(format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} – Riverside Plumbing</title>
{tag}
</head>
<body>
<nav><a href="/">Home</a> <a href="/prices">Prices</a> <a href="/contact">Contact</a></nav>
<h1>{title}</h1>
<p>{text}</p>
<p>Call us: <a href="tel:+18125550101">{NUMBER}</a></p>
</body>
</html>
"#
    ))
}
