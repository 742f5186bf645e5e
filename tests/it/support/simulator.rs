//! The simulated carrier as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value as Json;

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
    /// Its binary is named by `CARRIER_SIM_BIN`.
    pub fn start() -> Simulator {
        let binary = std::env::var("CARRIER_SIM_BIN").expect("CARRIER_SIM_BIN names the simulator's binary");
        let mut command = Command::new(binary);
        command.args(["--scale", SCALE, "--exit-with-stdin"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the simulator starts");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("it was asked for"));
        stdout.read_line(&mut line).expect("the simulator says where it is");
        let mut urls = line.split_whitespace().filter(|word| word.starts_with("http://")).map(str::to_owned);
        let (url, control) = (urls.next().expect("its API"), urls.next().expect("its control"));
        Simulator { child, url, control }
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
