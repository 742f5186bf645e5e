//! What is told of a page of a company's site.

use serde_json::Value as Json;

use super::{boolean, id, integer, list, nullable, object, one_of, text, time};
use crate::install_check::{Place, ProblemKind};

pub fn report() -> Json {
    let script = object(
        "The script of Call Tracker on the page.",
        &[
            ("found", integer("Its tags that browsers run.")),
            ("ok", boolean("There is one, and nothing keeps it from its work.")),
            ("problems", list(text(""), "Those of `problems` that are about it.")),
        ],
    );
    let csp = object(
        "The page's Content-Security-Policy.",
        &[("present", boolean("")), ("problems", list(text(""), "What it doesn't allow, by directive."))],
    );
    let problem = object(
        "",
        &[
            ("kind", one_of(&ProblemKind::ALL.map(ProblemKind::as_str), "")),
            ("text", text("A sentence for people. Not markup: it may repeat what the page says.")),
        ],
    );
    object(
        "What keeps a page's calls from being tracked.",
        &[
            ("url", text("The address that answered, after redirects.")),
            ("status", nullable(integer("What it answered; null if it didn't."))),
            ("fetched_at", time("")),
            ("truncated", boolean("The page is longer than what was read of it: 2 MiB.")),
            ("ok", boolean("There are no problems.")),
            ("script", script),
            ("numbers", list(number_on_page(), "The phone numbers on the page that the script would see.")),
            ("missing_targets", list(missing_target(), "What trackers replace and is nowhere on the page.")),
            ("csp", csp),
            ("problems", list(problem, "")),
        ],
    )
}

fn number_on_page() -> Json {
    let tracker = object("", &[("id", id("")), ("name", text(""))]);
    let places = list(one_of(&Place::ALL.map(Place::as_str), ""), "Where it stands.");
    object(
        "",
        &[
            ("text", text("As the page has it where it stands first.")),
            ("number", text("In E.164.")),
            ("places", places),
            ("count", integer("How often it stands there.")),
            ("trackers", list(tracker, "Those that replace it.")),
            ("is_tracking_number", boolean("It is a tracker's own: typed into a page, that is a mistake.")),
        ],
    )
}

fn missing_target() -> Json {
    object("", &[("tracker_id", id("")), ("tracker_name", text("")), ("swap_target", text("In E.164."))])
}
