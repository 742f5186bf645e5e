//! A page that is one form.

use askama::Template;

use super::form::{self, Input, Shape};
use super::gate::{self, Answer};
use super::view::Frame;
use crate::http::problem::Problem;

#[derive(Template)]
#[template(path = "webhook_form.html")]
pub(super) struct Sheet {
    pub frame: Frame,
    pub title: &'static str,
    pub action: String,
    pub button: &'static str,
    /// Where to go instead.
    pub back: String,
    failure: String,
    inputs: Vec<Input>,
}

impl Sheet {
    pub(super) fn new(frame: Frame, title: &'static str, action: String, button: &'static str) -> Sheet {
        let back = action.clone();
        Sheet { frame, title, action, button, back, failure: String::new(), inputs: Vec::new() }
    }

    /// Where to go instead, if that isn't what the form is sent to.
    pub(super) fn with_back(self, back: String) -> Sheet {
        Sheet { back, ..self }
    }

    /// The page, with what the API said is wrong.
    pub(super) fn answer(mut self, inputs: Vec<Input>, problem: Option<&Problem>) -> Answer {
        self.failure = form::failure(problem, &inputs);
        self.inputs = inputs;
        gate::rendered(&self, problem)
    }
}
