//! The Redshift Data API: statements outlive the process that sent them, so each is written down before it is sent.

mod client;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use millrace_operator_api::context::{RemoteStatement, WorkId};
use millrace_operator_api::ports::SmallResult;
use millrace_operator_api::{PortError, PortErrorKind};

use super::statement::{State, state, token};
use crate::parts::dialect::Dialect;
use crate::parts::failure::invalid;
use crate::parts::farewell::farewell;
use crate::parts::row_counts::Awaited;
use crate::parts::session::Session;
use crate::parts::sql::literal;
use crate::parts::wire::REDSHIFT_FLOAT_DIGITS;
pub use client::DataApi;
use client::Inner;

/// Of the API; one is spent on SET query_group.
const MOST_STATEMENTS: usize = 40;
/// How long a cancelled statement may take to end before we go without knowing.
const CANCEL_PATIENCE: Duration = Duration::from_mins(1);

/// Cancels a statement whose waiter was dropped.
struct CancelOnDrop {
    inner: Arc<Inner>,
    id: Option<String>,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            let inner = Arc::clone(&self.inner);
            farewell(async move { inner.cancel(&id).await });
        }
    }
}

/// Each run is one batch, that is one transaction. Runs of a work that change something are journalled.
pub struct DataApiSession {
    inner: Arc<Inner>,
    /// The work's marker.
    marker: Option<String>,
    show_values: bool,
}

struct Sending<'a> {
    step: &'a str,
    statements: Vec<String>,
    is_batch: bool,
    /// Statements of ours before the caller's own.
    shift: usize,
}

impl DataApiSession {
    pub fn new(api: DataApi, work: Option<&WorkId>) -> Self {
        Self { inner: api.inner, marker: work.map(WorkId::marker), show_values: false }
    }

    /// Whether errors show values of rows.
    pub fn showing(self, show_values: bool) -> Self {
        Self { show_values, ..self }
    }

    /// One statement outside of any transaction.
    pub async fn run_alone(&self, step: &str, statement: &str) -> Result<SmallResult, PortError> {
        let sending = Sending { step, statements: vec![statement.to_owned()], is_batch: false, shift: 0 };
        Ok(self.journalled(sending).await?.pop().unwrap_or_default())
    }

    /// One batch: with the words before them by which their cost is found again, and before questions with those that have a
    /// float printed whole.
    fn labelled<'a>(&self, step: &'a str, statements: Vec<String>) -> Sending<'a> {
        let mut all = vec![format!("SET query_group TO {}", literal(&self.inner.task.label))];
        if statements.iter().all(|statement| is_question(statement)) {
            all.push(format!("SET extra_float_digits TO {REDSHIFT_FLOAT_DIGITS}"));
        }
        let shift = all.len();
        all.extend(statements);
        Sending { step, statements: all, is_batch: true, shift }
    }

    async fn journalled(&self, sending: Sending<'_>) -> Result<Vec<SmallResult>, PortError> {
        let inner = &self.inner;
        let journal = &inner.task.journal;
        let Some(marker) = &self.marker else {
            let id = inner.send(&sending.statements, sending.is_batch, sending.step, None).await?;
            return self.wait(&id, &sending, None).await;
        };
        if let Some(results) = self.sent_before(&sending).await? {
            return Ok(results);
        }
        let record = RemoteStatement {
            step: sending.step.to_owned(),
            client_token: token(marker, inner.task.try_number, sending.step, &sending.statements),
            service: inner.service(),
            remote_id: None,
            is_settled: false,
        };
        journal.record(record.clone()).await?;
        self.attach(record, &sending).await
    }

    /// The end of what this or an earlier try sent, when that is not known yet. `None`: there is nothing of the kind, or an
    /// earlier try's failed.
    async fn sent_before(&self, sending: &Sending<'_>) -> Result<Option<Vec<SmallResult>>, PortError> {
        let inner = &self.inner;
        let journal = &inner.task.journal;
        let Some(marker) = &self.marker else { return Ok(None) };
        let of_try = |number: u32| token(marker, number, sending.step, &sending.statements);
        let earlier = journal.unsettled().await?.into_iter().find(|known| {
            known.step == sending.step
                && known.service == inner.service()
                && (1..=inner.task.try_number).any(|n| of_try(n) == known.client_token)
        });
        let Some(known) = earlier else { return Ok(None) };
        let sent_as = known.client_token.clone();
        let error = match self.attach(known, sending).await {
            Ok(results) => return Ok(Some(results)),
            Err(error) => error,
        };
        // Its failure is this try's failure; that of an earlier try is why there is this one.
        if sent_as == of_try(inner.task.try_number) || error.kind == PortErrorKind::Cancelled {
            return Err(error);
        }
        // Only the question was lost: it may be running still, and a second one would run beside it.
        if error.kind == PortErrorKind::Unavailable
            && journal.unsettled().await?.iter().any(|known| known.client_token == sent_as)
        {
            return Err(error);
        }
        tracing::debug!(step = sending.step, error = error.message, "an earlier try's statement failed");
        Ok(None)
    }

    /// Waits for a statement that is in the journal; sends it (again) under its token when no id is known.
    async fn attach(&self, mut record: RemoteStatement, sending: &Sending<'_>) -> Result<Vec<SmallResult>, PortError> {
        let inner = &self.inner;
        let id = match &record.remote_id {
            Some(id) => id.clone(),
            None => {
                match inner.send(&sending.statements, sending.is_batch, sending.step, Some(&record.client_token)).await
                {
                    Ok(id) => id,
                    Err(error) => {
                        // Refused: there is nothing whose end could be waited for. Lost on the way: there may be.
                        if error.kind != PortErrorKind::Unavailable {
                            record.is_settled = true;
                            inner.task.journal.record(record).await?;
                        }
                        return Err(error);
                    }
                }
            }
        };
        record.remote_id = Some(id.clone());
        inner.task.journal.record(record.clone()).await?;
        self.wait(&id, sending, Some(record)).await
    }

    async fn wait(
        &self,
        id: &str,
        sending: &Sending<'_>,
        record: Option<RemoteStatement>,
    ) -> Result<Vec<SmallResult>, PortError> {
        let inner = &self.inner;
        let mut guard = CancelOnDrop { inner: Arc::clone(inner), id: Some(id.to_owned()) };
        // The statement runs on the other side: until it has ended, the slot is for others.
        let ended = inner.task.outside(async {
            tokio::select! {
                biased;
                answer = inner.poll(id) => answer.map(Ok),
                reason = inner.task.cancel.cancelled() => Ok(Err(reason)),
            }
        });
        let ended = ended.await?;
        let ended = match ended {
            Ok(answer) => Ok(answer),
            Err(reason) => {
                inner.cancel(id).await;
                // A COMMIT that was cancelled may still finish: only the end counts.
                let known = tokio::time::timeout(CANCEL_PATIENCE, inner.poll(id)).await.is_ok_and(|end| end.is_ok());
                guard.id = None;
                Err((reason, known))
            }
        };
        guard.id = None;
        let is_known = !matches!(&ended, Err((_, false)));
        if let Some(mut record) = record.filter(|_| is_known) {
            record.is_settled = true;
            inner.task.journal.record(record).await?;
        }
        let answer = ended.map_err(|(reason, _)| PortError::new(PortErrorKind::Cancelled, reason))?;
        if state(&answer) != State::Finished {
            return Err(inner.failed(&answer, sending.shift, self.show_values).await);
        }
        let mut results = inner.answers(id, &answer).await?;
        results.drain(..sending.shift.min(results.len()));
        Ok(results)
    }
}

fn is_question(statement: &str) -> bool {
    statement.trim_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case("select"))
}

impl Session for DataApiSession {
    fn dialect(&self) -> Dialect {
        Dialect::Redshift
    }

    fn run_counting<'a>(
        &'a self,
        step: &'a str,
        statements: Vec<String>,
        _: Option<Awaited<'a>>,
    ) -> BoxFuture<'a, Result<Vec<SmallResult>, PortError>> {
        Box::pin(async move {
            if let [only] = statements.as_slice()
                && is_question(only)
                && !step.starts_with("script")
            {
                // Only reads: may be sent any number of times.
                let sending = self.labelled(step, statements);
                let id = self.inner.send(&sending.statements, true, step, None).await?;
                return self.wait(&id, &sending, None).await;
            }
            let sending = self.labelled(step, statements);
            if sending.statements.len() > MOST_STATEMENTS {
                return Err(invalid(format!(
                    "{} statements in one transaction are more than the {} that the Data API takes; use autocommit, or a connection by wire",
                    sending.statements.len() - sending.shift,
                    MOST_STATEMENTS - sending.shift
                )));
            }
            self.journalled(sending).await
        })
    }

    fn take_up<'a>(
        &'a self,
        step: &'a str,
        statements: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Vec<SmallResult>>, PortError>> {
        Box::pin(async move { self.sent_before(&self.labelled(step, statements.to_vec())).await })
    }

    fn tell(&self, line: &str) {
        self.inner.task.tell(line);
    }

    fn clean_up(&self, statement: String) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            let inner = &self.inner;
            let id = inner.send(&[statement], false, "clean-up", None).await?;
            let answer = tokio::time::timeout(CANCEL_PATIENCE, inner.poll(&id)).await.map_err(|_| {
                PortError::new(PortErrorKind::Unavailable, format!("statement {id} is still waiting"))
            })??;
            if state(&answer) == State::Finished {
                Ok(())
            } else {
                Err(inner.failed(&answer, 0, self.show_values).await)
            }
        })
    }

    fn await_earlier(&self) -> BoxFuture<'_, Result<bool, PortError>> {
        Box::pin(async move {
            let inner = &self.inner;
            let earlier = inner.task.journal.unsettled().await?;
            let has_earlier = !earlier.is_empty();
            for mut known in earlier {
                let Some(id) = known.remote_id.clone() else { continue };
                if known.service != inner.service() {
                    continue;
                }
                let ended = Box::pin(inner.task.outside(inner.task.until_cancelled(inner.poll(&id)))).await;
                match ended {
                    Ok(answer) => {
                        // A finished statement may still be taken up by its own step.
                        if state(&answer) == State::Finished && known.step == "stage" {
                            continue;
                        }
                    }
                    // Statements are forgotten after a day.
                    Err(error) if error.kind == PortErrorKind::NotFound => {}
                    Err(error) => {
                        if error.kind == PortErrorKind::Cancelled {
                            inner.cancel(&id).await;
                        }
                        return Err(error);
                    }
                }
                known.is_settled = true;
                inner.task.journal.record(known).await?;
            }
            Ok(has_earlier)
        })
    }
}
