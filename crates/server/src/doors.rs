//! The addresses, each with what it asks of whoever comes. There is no way to add one without saying so.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::Method;

use crate::access::permission::Access;
use crate::openapi::Operation;
use crate::server::Shared;

/// One address and method.
#[derive(Debug, Clone)]
pub struct Door {
    pub method: Method,
    /// With names in braces: `/dags/{dag_id}`.
    pub path: String,
    pub access: Access,
    /// What it does; every address of the API says so.
    pub operation: Option<Arc<Operation>>,
}

pub(crate) struct Doors {
    prefix: &'static str,
    router: Router<Shared>,
    list: Vec<Door>,
}

impl Doors {
    pub fn new() -> Self {
        Self::under("")
    }

    /// Every path begins with this.
    pub fn under(prefix: &'static str) -> Self {
        Self { prefix, router: Router::new(), list: Vec::new() }
    }

    pub fn get<H: Handler<T, Shared>, T: 'static>(self, path: &str, access: impl Into<Access>, handler: H) -> Self {
        self.at(Method::GET, path, access.into(), on(MethodFilter::GET, handler))
    }

    pub fn post<H: Handler<T, Shared>, T: 'static>(self, path: &str, access: impl Into<Access>, handler: H) -> Self {
        self.at(Method::POST, path, access.into(), on(MethodFilter::POST, handler))
    }

    pub fn put<H: Handler<T, Shared>, T: 'static>(self, path: &str, access: impl Into<Access>, handler: H) -> Self {
        self.at(Method::PUT, path, access.into(), on(MethodFilter::PUT, handler))
    }

    pub fn patch<H: Handler<T, Shared>, T: 'static>(self, path: &str, access: impl Into<Access>, handler: H) -> Self {
        self.at(Method::PATCH, path, access.into(), on(MethodFilter::PATCH, handler))
    }

    pub fn delete<H: Handler<T, Shared>, T: 'static>(self, path: &str, access: impl Into<Access>, handler: H) -> Self {
        self.at(Method::DELETE, path, access.into(), on(MethodFilter::DELETE, handler))
    }

    fn at(mut self, method: Method, path: &str, access: Access, route: MethodRouter<Shared>) -> Self {
        let path = format!("{}{path}", self.prefix);
        self.router = self.router.route(&path, route);
        self.list.push(Door { method, path, access, operation: None });
        self
    }

    /// Of the address that was added last.
    pub fn does(mut self, operation: Operation) -> Self {
        if let Some(door) = self.list.last_mut() {
            door.operation = Some(Arc::new(operation));
        }
        self
    }

    pub fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.list.extend(other.list);
        self
    }

    pub fn list(&self) -> &[Door] {
        &self.list
    }

    pub fn open(self) -> (Router<Shared>, Vec<Door>) {
        (self.router, self.list)
    }
}

/// The same, to look up.
pub(crate) struct DoorPlan {
    doors: HashMap<String, Vec<Behind>>,
}

struct Behind {
    method: Method,
    access: Access,
    /// What may stand behind the address, and whether more than once; of a page nobody looks.
    parameters: Option<Vec<(&'static str, bool)>>,
}

impl DoorPlan {
    pub fn of(doors: impl IntoIterator<Item = Door>) -> Self {
        let mut plan: HashMap<String, Vec<Behind>> = HashMap::new();
        for door in doors {
            let parameters = door.operation.map(|operation| operation.parameters());
            plan.entry(door.path).or_default().push(Behind { method: door.method, access: door.access, parameters });
        }
        Self { doors: plan }
    }

    /// `path` as it is declared, with names in braces.
    fn behind(&self, method: &Method, path: &str) -> Option<&Behind> {
        // Who asks for the head gets what GET would answer, without the body.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.doors.get(path)?.iter().find(|door| door.method == method)
    }

    /// None: nothing is behind it.
    pub fn access(&self, method: &Method, path: &str) -> Option<Access> {
        self.behind(method, path).map(|door| door.access)
    }

    /// The names that may stand behind an address of the API, and whether more than once.
    pub fn parameters(&self, method: &Method, path: &str) -> Option<&[(&'static str, bool)]> {
        self.behind(method, path)?.parameters.as_deref()
    }
}
