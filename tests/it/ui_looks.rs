//! How pages look in a real browser: on a phone and on a desktop, in light and in dark nothing sticks out, and axe-core
//! (Deque) finds nothing that keeps anybody from using them. With `SCREENSHOTS` set to a folder it also leaves a picture
//! of every page in every form there: `scripts/screenshots`.

use std::path::PathBuf;

use serde_json::Value as Json;

use crate::support::browser::{Browser, PASSWORD};
use crate::support::chromium::Chromium;
use crate::ui_pages::{Known, scene};

const AXE: &str = include_str!("pages/vendor/axe.min.js");
const PHONE: (u32, u32) = (390, 844);
const DESKTOP: (u32, u32) = (1280, 900);
const ANA: &str = "ana@looks.example";

/// What axe says about the page, in a line each.
const ASK_AXE: &str = "const done = arguments[arguments.length - 1];
    axe.run().then((found) => done(found.violations.flatMap((one) =>
        one.nodes.map((node) => `${one.id}: ${node.target} ${node.failureSummary}`))));";

async fn log_in(chromium: &Chromium, base: &str) {
    chromium.open(&format!("{base}/login")).await;
    let fill = format!(
        "document.getElementById('email').value = '{ANA}';
         document.getElementById('password').value = '{PASSWORD}';
         document.querySelector('form').submit();"
    );
    chromium.run(&fill).await;
    chromium.until("location.pathname !== '/login'", true).await;
}

/// Elements that are wider than the page, apart from what is to be scrolled.
const WIDE: &str =
    "return [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right >
    innerWidth + 1 && !e.closest('pre, .wide, .side, svg') && getComputedStyle(e).position !== 'absolute')
    .map((e) => e.outerHTML.slice(0, 200))";

#[tokio::test(flavor = "multi_thread")]
async fn pages_fit_phones_and_are_for_everybody() {
    look_at_all(PHONE, "phone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_fit_desktops_and_are_for_everybody() {
    look_at_all(DESKTOP, "desktop").await;
}

async fn look_at_all(size: (u32, u32), device: &str) {
    let (agency, pages) = scene().await;
    let base = &agency.app.api.base;
    Browser::of_user(base, &agency.app.ctx, ANA, None).await;
    let chromium = Chromium::start().await;
    log_in(&chromium, base).await;
    let folder = std::env::var_os("SCREENSHOTS").map(PathBuf::from);
    let mut wrong = Vec::new();
    // Pages that are no company's.
    let others = ["/companies", "/companies/new", "/invitation/none"].map(str::to_owned);
    for path in pages.into_iter().map(|Known { path, .. }| path).chain(others) {
        for (dark, colours) in [(false, "light"), (true, "dark")] {
            chromium.resize(size).await;
            chromium.darken(dark).await;
            chromium.open(&format!("{base}{path}")).await;
            let at = format!("{path} on a {device}, {colours}");
            let wide = chromium.run(WIDE).await;
            wrong.extend(texts(&wide).map(|element| format!("{at}: too wide: {element}")));
            chromium.run(AXE).await;
            let found = chromium.run_async(ASK_AXE).await;
            wrong.extend(texts(&found).map(|violation| format!("{at}: {violation}")));
            if let Some(folder) = &folder {
                std::fs::create_dir_all(folder).unwrap();
                let name = path.trim_start_matches('/').replace(['/', '?', '='], "_");
                let file = folder.join(format!("{name}.{device}.{colours}.png"));
                std::fs::write(file, chromium.photograph().await).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn texts(list: &Json) -> impl Iterator<Item = &str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_appear_by_themselves_and_the_keyboard_moves_through_them() {
    let (agency, _) = scene().await;
    let base = &agency.app.api.base;
    Browser::of_user(base, &agency.app.ctx, ANA, None).await;
    let chromium = Chromium::start().await;
    log_in(&chromium, base).await;
    chromium.open(&format!("{base}{}", agency.path("/calls"))).await;
    let rows = "document.querySelectorAll('table.rows tbody tr').length";
    chromium.until(rows, 2).await;
    agency.ring("CA7").await;
    chromium.until(rows, 3).await;
    let focused = "document.activeElement.getAttribute('href') || document.activeElement.name || ''";
    let press = async |key: &str| {
        let press = format!(
            "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}', bubbles: true}}))"
        );
        chromium.run(&press).await;
    };
    for (key, call) in [("j", 3), ("j", 2), ("k", 3), ("k", 3)] {
        press(key).await;
        assert_eq!(chromium.value(focused).await, agency.path(&format!("/calls/{call}")), "{key}");
    }
    // A form goes once, however often its button is pressed.
    let twice = "const form = document.querySelector('form.out');
        const send = () => {
            const sent = new SubmitEvent('submit', {bubbles: true, cancelable: true});
            form.dispatchEvent(sent);
            return sent.defaultPrevented;
        };
        return [send(), send()]";
    assert_eq!(chromium.run(twice).await, serde_json::json!([false, true]));
    press("/").await;
    assert_eq!(chromium.value(focused).await, "search");
    press("j").await;
    assert_eq!(chromium.value(focused).await, "search", "who types isn't moved");
}
