//! A browser as far as pages need one: it keeps the login's cookie, follows no redirect by itself, and says
//! with each form that it comes from the same site.

use calltracker::ctx::Ctx;
use calltracker::db::sql;
use calltracker::kernel::id::CompanyId;
use calltracker::users::{self, Email, NewPassword, User};
use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{Method, RequestBuilder};

use super::TestApp;

pub const PASSWORD: &str = "correct horse battery";

/// See the module.
#[derive(Clone)]
pub struct Browser {
    http: reqwest::Client,
    base: String,
    /// `name=value`.
    pub cookie: Option<String>,
    /// What the page before told the next one.
    flash: Option<String>,
    /// Says that somebody has logged in here before.
    pub device: Option<String>,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Shown {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Shown {
    #[track_caller]
    pub fn expect(self, status: u16) -> Shown {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Where a redirect leads.
    #[track_caller]
    pub fn location(&self) -> &str {
        assert_eq!(self.status, 303, "{}", self.text);
        self.headers[LOCATION].to_str().unwrap()
    }

    #[track_caller]
    pub fn assert_has(&self, text: &str) {
        assert!(self.text.contains(text), "{text:?} is missing in:\n{}", self.text);
    }

    #[track_caller]
    pub fn assert_lacks(&self, text: &str) {
        assert!(!self.text.contains(text), "{text:?} is in:\n{}", self.text);
    }

    /// The URL of the first link with this text.
    #[track_caller]
    pub fn link(&self, text: &str) -> String {
        let (before, _) = self.text.split_once(&format!(">{text}</a>")).expect("the page has the link");
        let url = before.rsplit_once("href=\"").expect("links have a URL").1;
        url.split('"').next().unwrap().replace("&#38;", "&")
    }
}

impl Browser {
    pub fn new(base: &str) -> Browser {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Browser { http, base: base.to_owned(), cookie: None, flash: None, device: None }
    }

    /// In which a new user has logged in.
    pub async fn of_user(base: &str, ctx: &Ctx, email: &str, company: Option<CompanyId>) -> Browser {
        add_user(ctx, email, company).await;
        let mut browser = Browser::new(base);
        browser.log_in(email, PASSWORD).await.location();
        browser
    }

    /// The user may only look from now on.
    pub async fn lose_the_right_to_write(&self, app: &TestApp, email: &'static str) {
        let lose = "update users set can_write = ? where email = ?";
        app.write(move |tx| tx.execute(sql(lose).bind(false).bind(email))).await;
    }

    pub async fn log_in(&mut self, email: &str, password: &str) -> Shown {
        self.post_form("/login", &[("email", email), ("password", password)]).await
    }

    pub async fn get(&mut self, path: &str) -> Shown {
        let request = self.request(Method::GET, path);
        self.send(request).await
    }

    /// Presses a button.
    pub async fn post(&mut self, path: &str) -> Shown {
        self.post_form(path, &[]).await
    }

    pub async fn post_form(&mut self, path: &str, fields: &[(&str, &str)]) -> Shown {
        let request = self.form(path, fields).header("sec-fetch-site", "same-origin");
        self.send(request).await
    }

    /// A form that doesn't say where it comes from.
    pub fn form(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        self.request(Method::POST, path)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body.finish())
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        let cookies = ["theme=dark"].into_iter();
        let cookies =
            cookies.chain([&self.flash, &self.device, &self.cookie].into_iter().filter_map(|c| c.as_deref()));
        request.header(COOKIE, cookies.collect::<Vec<_>>().join("; "))
    }

    pub async fn send(&mut self, request: RequestBuilder) -> Shown {
        let response = request.send().await.expect("the server answers");
        for set in response.headers().get_all(SET_COOKIE) {
            let set = set.to_str().unwrap();
            let pair = set.split(';').next().unwrap().to_owned();
            let kept = (!set.contains("Max-Age=0")).then_some(pair.clone());
            match pair.split('=').next().unwrap_or_default() {
                name if name.ends_with("flash") => self.flash = kept,
                name if name.ends_with("device") => self.device = kept,
                _ => self.cookie = kept,
            }
        }
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Shown { status, headers, text: response.text().await.expect("the answer is text") }
    }
}

/// A user with [`PASSWORD`].
pub async fn add_user(ctx: &Ctx, email: &str, company: Option<CompanyId>) -> User {
    let (email, password) = (Email::parse(email).unwrap(), NewPassword::parse(PASSWORD).unwrap());
    users::add(&ctx.db, &ctx.seed, email, password, company).await.unwrap()
}
