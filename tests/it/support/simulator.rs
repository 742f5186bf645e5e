//! The simulated carrier as a process of its own.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value as Json;

use super::world::{ACCOUNT_SID, AUTH_TOKEN};

/// Virtual seconds that pass in one: a call of a minute takes a third of a second.
const SCALE: &str = "200";

/// A running simulator; ends with the test.
pub struct Simulator {
    child: Child,
    /// Of the carrier's API.
    pub url: String,
    /// Of the side that plays people and the network.
    pub control: String,
}

impl Simulator {
    /// A hidden command of the program under test runs it.
    pub fn start() -> Simulator {
        let mut command = Command::new(env!("CARGO_BIN_EXE_calltracker"));
        command.args(["carrier-sim", "--scale", SCALE, "--exit-with-stdin"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the simulator starts");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("it was asked for"));
        stdout.read_line(&mut line).expect("the simulator says where it is");
        let mut urls = line.split_whitespace().filter(|word| word.starts_with("http://")).map(str::to_owned);
        let (url, control) = (urls.next().expect("its API"), urls.next().expect("its control"));
        Simulator { child, url, control }
    }

    /// Has a call made, and waits until all of it was told to us.
    pub async fn call(&self, scenario: &Json) -> Json {
        let begun = self.post("/sim/calls", scenario).await;
        let url =
            format!("{}/sim/calls/{}?wait=1", self.control, begun["call_sid"].as_str().expect("its id"));
        let answer = reqwest::get(url).await.expect("the simulator answers");
        answer.json().await.expect("it tells about the call")
    }

    /// Puts a number into the account, as if it had been bought by hand.
    pub async fn buy(&self, number: &str) {
        let url = format!("{}/2010-04-01/Accounts/{ACCOUNT_SID}/IncomingPhoneNumbers.json", self.url);
        let request = reqwest::Client::new().post(url).basic_auth(ACCOUNT_SID, Some(AUTH_TOKEN));
        let body =
            form_urlencoded::Serializer::new(String::new()).append_pair("PhoneNumber", number).finish();
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        assert_eq!(request.send().await.expect("the simulator answers").status().as_u16(), 201);
    }

    /// The numbers that the account has.
    pub async fn owned(&self) -> BTreeSet<String> {
        let path = format!("/2010-04-01/Accounts/{ACCOUNT_SID}/IncomingPhoneNumbers.json?PageSize=1000");
        let request = reqwest::Client::new().get(format!("{}{path}", self.url));
        let answer = request.basic_auth(ACCOUNT_SID, Some(AUTH_TOKEN)).send().await;
        let answer: Json = answer.expect("the simulator answers").json().await.expect("a list");
        let numbers = answer["incoming_phone_numbers"].as_array().expect("a list").iter();
        numbers.map(|number| number["phone_number"].as_str().expect("a text").to_owned()).collect()
    }

    /// Has something happen.
    pub async fn post(&self, path: &str, body: &Json) -> Json {
        let request = reqwest::Client::new().post(format!("{}{path}", self.control)).json(body);
        let answer = request.send().await.expect("the simulator answers");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().await.unwrap_or_default()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
