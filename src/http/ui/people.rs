//! Who may see a company: inviting, roles, removing; and one's own password. Users of the whole account are shown to their
//! like only. Nobody changes themselves, so that somebody who may change things is always left.

use askama::Template;
use axum::Router;
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use super::error::PageError;
use super::flash::Flash;
use super::form::{self, Ask, Input, Shape};
use super::gate::{self, Answer, Request};
use super::settings::tabs;
use super::view::{Frame, Moment, Section, Tab};
use crate::db::{self, Tx};
use crate::http::AppState;
use crate::http::api::fields::{self, Field, Kind, Mode, Rule};
use crate::http::problem::Problem;
use crate::kernel::id::{InvitationId, UserId};
use crate::users::invitations::{self, Invitation};
use crate::users::{AddError, Email, LoginError, NewPassword, PASSWORD_CHARS, User, members};

/// Users that are shown.
const USERS_MAX: i64 = 500;

static EMAIL: Rule = Rule {
    max: 254,
    format: "email",
    example: "ana@agency.example",
    check: |text| Email::parse(text).map(drop).ok_or_else(|| "is not an e-mail address".to_owned()),
};

static PASSWORD: Rule = Rule {
    max: *PASSWORD_CHARS.end(),
    format: "password",
    example: "correct horse battery",
    check: |text| {
        let least = PASSWORD_CHARS.start();
        NewPassword::parse(text).map(drop).ok_or_else(|| format!("must have {least} characters at least"))
    },
};

const ADMIN: &str = "admin";
const INVITE: &[Field] = &[
    Field::new("email", Kind::Rule(&EMAIL), "").required(),
    Field::new("role", Kind::Choice(|| vec![ADMIN, "reporting"]), "").required(),
];
const INVITE_ASKS: &[Ask] = &[
    Ask::new("email", "E-mail address").hint(""),
    Ask::new("role", "Role").hint("Admin: changes things. Reporting: looks only."),
];
const CHANGE: &[Field] = &[
    Field::new("present", Kind::Text { min: 1, max: 1_000 }, "").required(),
    Field::new("password", Kind::Rule(&PASSWORD), "").required(),
];
const CHANGE_ASKS: &[Ask] = &[
    Ask::new("present", "Present password").hint("").line(),
    Ask::new("password", "New password").hint("12 characters at least. Other browsers are logged out."),
];

pub(super) fn router() -> Router<AppState> {
    const ALL: &str = "/companies/{company_id}/settings/users";
    Router::new()
        .route(ALL, gate::page(list).merge(gate::form(invite)))
        .route(&format!("{ALL}/{{user_id}}/role"), gate::form(set_role))
        .route(&format!("{ALL}/{{user_id}}/remove"), gate::form(remove))
        .route(&format!("{ALL}/invitations/{{invitation_id}}/withdraw"), gate::form(withdraw))
        .route(
            "/companies/{company_id}/settings/password",
            gate::page(password).merge(gate::own_form(change)),
        )
}

struct Row {
    user: User,
    is_me: bool,
}

impl Row {
    fn role(&self) -> &'static str {
        role(self.user.can_write)
    }

    fn sees_all(&self) -> bool {
        self.user.company.is_none()
    }
}

fn role(can_write: bool) -> &'static str {
    if can_write { ADMIN } else { "reporting" }
}

struct Open {
    invitation: Invitation,
    expires: Moment,
}

impl Open {
    fn new(invitation: Invitation, zone: &TimeZone) -> Open {
        Open { expires: Moment::new(invitation.expires_at, zone), invitation }
    }

    fn role(&self) -> &'static str {
        role(self.invitation.can_write)
    }
}

#[derive(Template)]
#[template(path = "users.html")]
struct UsersPage {
    frame: Frame,
    tabs: Vec<Tab>,
    path: String,
    /// The link of an invitation that was made just now; "" usually.
    secret: String,
    rows: Vec<Row>,
    open: Vec<Open>,
    failure: String,
    inputs: Vec<Input>,
}

async fn list(request: Request) -> Answer {
    answer(&request, &json!({}), None).await
}

async fn answer(request: &Request, values: &Json, problem: Option<&Problem>) -> Answer {
    let (scope, sees_all) = (request.scope(), request.user.company.is_none());
    let read = move |tx: &mut Tx<'_>| -> db::Result<_> {
        let mut users = members::of_company(tx, scope, USERS_MAX)?;
        if sees_all {
            users.extend(members::of_account(tx, USERS_MAX)?);
        }
        Ok((users, invitations::open(tx, scope)?))
    };
    let (users, open) = request.ctx.db.read("users.list", read).await?;
    let (zone, me) = (request.zone(), request.user.id);
    let inputs = form::inputs(INVITE, INVITE_ASKS, values, problem);
    let page = UsersPage {
        frame: request.frame("Users", Section::Settings),
        tabs: tabs(request, "/users"),
        path: format!("/companies/{}/settings/users", request.company().id),
        secret: request.flash.secret.clone(),
        rows: users.into_iter().map(|user| Row { is_me: user.id == me, user }).collect(),
        open: open.into_iter().map(|invitation| Open::new(invitation, &zone)).collect(),
        failure: form::failure(problem, &inputs),
        inputs,
    };
    gate::rendered(&page, problem)
}

async fn invite(request: Request) -> Answer {
    let body = request.typed.body(INVITE, INVITE_ASKS);
    let (values, errors) = fields::read(body.to_string().as_bytes(), INVITE, Mode::New)?;
    if let Err(problem) = errors.into_result() {
        return answer(&request, &body, Some(&problem)).await;
    }
    let email = Email::parse(&values.need::<String>("email")).ok_or(PageError::BadRequest)?;
    let (scope, can_write) = (request.scope(), values.need::<String>("role") == ADMIN);
    let make = move |tx: &mut Tx<'_>| invitations::invite(tx, scope, &email, can_write);
    match request.ctx.db.write("invitations.make", make).await {
        Ok(token) => {
            request.note("invite_user", &body).await;
            let secret = format!("{}invitation/{token}", request.ctx.public_url);
            let notice = "The invitation is made.".to_owned();
            Ok(request.go("/settings/users", &Flash { notice, secret }))
        }
        Err(AddError::Database(error)) => Err(error.into()),
        Err(error @ (AddError::Taken | AddError::NoSuchCompany | AddError::Busy)) => {
            let problem = Problem::field("email", format!("can’t be invited: {error}"));
            answer(&request, &body, Some(&problem)).await
        }
    }
}

/// The user in the path, whom whoever asks may change.
async fn find(request: &Request) -> Result<User, PageError> {
    let id = request.id::<UserId>("user_id")?;
    let found = request.ctx.db.read("users.find", move |tx| members::find(tx, id)).await?;
    let user = found.ok_or(PageError::NotFound)?;
    let is_shown = match user.company {
        Some(company) => company == request.company().id,
        None => request.user.company.is_none(),
    };
    match is_shown {
        false => Err(PageError::NotFound),
        true if user.id == request.user.id => Err(PageError::BadRequest),
        true => Ok(user),
    }
}

async fn set_role(request: Request) -> Answer {
    let user = find(&request).await?;
    let (id, can_write) = (user.id, request.typed.get("role") == Some(ADMIN));
    request.ctx.db.write("users.set_role", move |tx| members::set_can_write(tx, id, can_write)).await?;
    request.note("change_role", &json!({ "email": user.email, "role": role(can_write) })).await;
    let notice = format!("{} is {} now.", user.email, role(can_write));
    Ok(request.go("/settings/users", &Flash::notice(notice)))
}

async fn remove(request: Request) -> Answer {
    let user = find(&request).await?;
    let id = user.id;
    request.ctx.db.write("users.remove", move |tx| members::remove(tx, id)).await?;
    request.note("remove_user", &json!({ "email": user.email })).await;
    let notice = format!("{} is removed and logged out.", user.email);
    Ok(request.go("/settings/users", &Flash::notice(notice)))
}

async fn withdraw(request: Request) -> Answer {
    let (scope, id) = (request.scope(), request.id::<InvitationId>("invitation_id")?);
    let gone = request.ctx.db.write("invitations.withdraw", move |tx| invitations::withdraw(tx, scope, id));
    if !gone.await? {
        return Err(PageError::NotFound);
    }
    request.note("withdraw_invitation", &Json::Null).await;
    Ok(request.go("/settings/users", &Flash::notice("The invitation is taken back: its link opens nothing.")))
}

#[derive(Template)]
#[template(path = "password.html")]
struct PasswordPage {
    frame: Frame,
    tabs: Vec<Tab>,
    action: String,
    failure: String,
    inputs: Vec<Input>,
}

async fn password(request: Request) -> Answer {
    ask_password(&request, None)
}

fn ask_password(request: &Request, problem: Option<&Problem>) -> Answer {
    let mut inputs = form::inputs(CHANGE, CHANGE_ASKS, &json!({}), problem);
    for input in &mut inputs {
        input.shape = Shape::Line { kind: "password", value: String::new() };
    }
    let page = PasswordPage {
        frame: request.frame("My password", Section::Settings),
        tabs: tabs(request, "/password"),
        action: format!("/companies/{}/settings/password", request.company().id),
        failure: form::failure(problem, &inputs),
        inputs,
    };
    gate::rendered(&page, problem)
}

async fn change(request: Request) -> Answer {
    // As it was typed: spaces are part of a password.
    let typed = |name| request.typed.get(name).unwrap_or_default().to_owned();
    let body = json!({ "present": typed("present"), "password": typed("password") });
    let (_, errors) = fields::read(body.to_string().as_bytes(), CHANGE, Mode::New)?;
    if let Err(problem) = errors.into_result() {
        return ask_password(&request, Some(&problem));
    }
    let new = NewPassword::parse(&typed("password")).ok_or(PageError::BadRequest)?;
    let (email, now) = (Email::parse(&request.user.email), request.ctx.clock.now());
    if let Some(attempts) = &request.attempts
        && attempts.count(email.as_ref(), None, now).is_err()
    {
        return ask_password(
            &request,
            Some(&Problem::field("present", "was wrong too often: wait a few minutes")),
        );
    }
    let (ctx, id) = (&request.ctx, request.user.id);
    match members::change_password(&ctx.db, &ctx.seed, id, typed("present"), new, &request.login).await {
        Ok(true) => {
            if let Some(attempts) = &request.attempts {
                attempts.forgive(email.as_ref(), None);
            }
            request.note("change_password", &Json::Null).await;
            Ok(request.go("/settings/password", &Flash::notice("The password is changed.")))
        }
        Ok(false) => ask_password(&request, Some(&Problem::field("present", "is wrong"))),
        Err(busy @ LoginError::Busy) => Err(PageError::Busy(busy.to_string())),
        Err(LoginError::Database(error)) => Err(error.into()),
    }
}
