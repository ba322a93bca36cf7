//! How far a standby is behind.

use chrono::TimeDelta;
use millrace_operator_api::{PortError, PortErrorKind};

use crate::parts::wire::WireConfig;

/// A standby that has replayed all it was sent is not behind, however long its primary has been quiet, as long as somebody
/// sends it something: one that was cut off has replayed all it was sent too. Its age is then that of the last change it has.
const LAG: &str = "SELECT pg_is_in_recovery(), \
    CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() AND EXISTS (SELECT FROM pg_stat_wal_receiver) THEN 0 \
    ELSE ceil(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())) END";

/// `None` for a server that copies no other.
pub(super) async fn lag(config: &WireConfig) -> Result<Option<TimeDelta>, PortError> {
    let answer = config.ask(LAG).await?;
    let Some([is_standby, seconds]) = answer.rows.into_iter().next().and_then(|row| <[_; 2]>::try_from(row).ok())
    else {
        return Ok(None);
    };
    if is_standby.as_deref() != Some("t") {
        return Ok(None);
    }
    match seconds.and_then(|text| text.parse().ok()) {
        Some(seconds) => Ok(Some(TimeDelta::seconds(seconds))),
        None => Err(PortError::new(
            PortErrorKind::Unavailable,
            format!(
                "connection {:?}: the standby does not say how far it is behind: it receives nothing from its primary, \
                 and has replayed nothing since it was started",
                config.conn_id
            ),
        )),
    }
}
