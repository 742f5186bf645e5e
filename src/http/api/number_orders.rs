//! `/companies/{c}/number-orders`: numbers for pools that are bought bit by bit. They are made where pools are: by
//! creating one, and by getting more numbers for one.

use serde_json::Value as Json;

use super::Request;
use super::fields::{Field, Kind};
use super::params::{AFTER, LIMIT};
use super::reply::Reply;
use super::route::{Answer, Route};
use crate::carriers::provision::orders::{self, Bulk, Order, OrderState, Target};
use crate::http::problem::{Kind as ProblemKind, Problem};
use crate::kernel::id::NumberOrderId;

const TAG: &str = "Number orders";

const CHANGE: &[Field] = &[Field::new(
    "state",
    Kind::Choice(|| vec![OrderState::Cancelled.as_str()]),
    "Ends it: what was bought goes back to the carrier.",
)];

pub(super) const ROUTES: &[Route] = &[
    Route::get("/companies/{company_id}/number-orders", "list_number_orders", |r| Box::pin(list(r)))
        .named(TAG, "List number orders")
        .params(&[LIMIT, AFTER])
        .answers(Answer::Page("NumberOrder")),
    Route::get("/companies/{company_id}/number-orders/{order_id}", "get_number_order", |r| Box::pin(get(r)))
        .named(TAG, "Get a number order with its progress")
        .answers(Answer::Object("NumberOrder")),
    Route::patch("/companies/{company_id}/number-orders/{order_id}", "update_number_order", |r| {
        Box::pin(update(r))
    })
    .named(TAG, "Cancel a number order")
    .changes("NumberOrderChange", CHANGE)
    .answers(Answer::Object("NumberOrder"))
    .or(&[ProblemKind::Conflict]),
];

/// Begins an order; the answer to a request that wants more numbers than can be bought while it waits.
pub(super) async fn begin(request: Request, target: Target, bulk: Bulk) -> Result<Reply, Problem> {
    let (scope, key) = (request.scope(), request.ctx.key.clone());
    request
        .write("number_orders.create", move |tx| {
            let order = orders::create(tx, scope, &key, &target, &bulk)?;
            let path = format!("/companies/{}/number-orders/{}", order.company_id, order.id);
            Ok(Reply::begun(&path, &order.to_json()))
        })
        .await
}

async fn list(request: Request) -> Result<Reply, Problem> {
    let listed = orders::list(&request.ctx.db, request.scope(), request.query.page()).await?;
    Ok(Reply::page(listed, Order::to_json))
}

async fn get(request: Request) -> Result<Reply, Problem> {
    let (scope, id) = (request.scope(), request.id("order_id")?);
    let found = request.ctx.db.read("number_orders.get", move |tx| orders::find(tx, scope, id)).await?;
    Ok(Reply::ok(&found.ok_or_else(Problem::not_found)?.to_json()))
}

async fn update(request: Request) -> Result<Reply, Problem> {
    let (scope, id) = (request.scope(), request.id::<NumberOrderId>("order_id")?);
    let cancel = request.body.get::<Json>("state").is_some();
    request
        .write("number_orders.update", move |tx| {
            let order = if cancel {
                orders::cancel(tx, scope, id)?
            } else {
                orders::find(tx, scope, id)?.ok_or_else(Problem::not_found)?
            };
            Ok(Reply::ok(&order.to_json()))
        })
        .await
}
