//! One file for each group of commands.

pub mod alerts;
pub mod assets;
pub mod attempt;
pub mod backfills;
pub mod calendars;
pub mod changes;
pub mod conformance;
pub mod connections;
pub mod dag_test;
pub mod dags;
pub mod data;
pub mod db;
pub mod delete;
pub mod doctor;
pub mod explain;
pub mod jobs;
pub mod people;
pub mod plan;
pub mod pools;
pub mod reference;
pub mod reload;
pub mod runs;
pub mod tasks;
pub mod validate;
pub mod variables;
pub mod webhooks;
