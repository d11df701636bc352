//! Many tasks of one process want one key, and one sidecar is there (B3).

use super::SIZES;
use crate::Outcome;
use crate::figures::Figures;
use crate::lab::Lab;
use crate::load::{self, Crowd, Effort};
use crate::measure::jain;
use crate::ours;

/// Processes of another language get so much longer, to forget how they started.
const FOREIGN_SPANS: u32 = 2;

/// B3.
pub(crate) async fn one_sidecar(lab: &mut Lab, figures: &mut Figures) -> Outcome {
    foreign(lab, figures)?;
    let redis = lab.redis_crate().await?;
    let (_sidecar, client) = lab.sidecar().await?;
    let effort = Effort::of(lab.span);
    for size in SIZES {
        let key = format!("b3/redis/{size}");
        let locks = (0..size).map(|_| redis.lock(&key)).collect();
        note(figures, &format!("b3.redis@{size}"), &mut load::crowd(locks, effort).await?);
        if let Some(rslock) = &mut lab.foreign.rslock {
            let mut crowd = rslock.crowd(&lab.redis.url(), lab.span, 1, size)?;
            note(figures, &format!("b3.rslock@{size}"), &mut crowd);
        }
        if size == 64 {
            lab.floor(figures, "b3").await?;
        }
        let locks = ours::on_one_connection(&client, &format!("b3/{size}"), size);
        let mut crowd = load::crowd(locks, effort).await?;
        note(figures, &format!("b3.ours@{size}"), &mut crowd);
        if size == 64 {
            figures.add("b3.overtaken", crowd.overtaken as f64);
        }
    }
    figures.add_best("b3.best", &["b3.redis@64", "b3.rslock@64", "one.redis_py", "one.redlock"]);
    Ok(())
}

/// 16 processes on one key: the same for every scenario, so once a round.
pub(crate) fn foreign(lab: &mut Lab, figures: &mut Figures) -> Outcome {
    let (url, span) = (lab.redis.url(), lab.span * FOREIGN_SPANS);
    for (figure, peer) in
        [("one.redis_py", &mut lab.foreign.redis_py), ("one.redlock", &mut lab.foreign.redlock)]
    {
        if let Some(peer) = peer {
            note(figures, figure, &mut peer.processes(&url, span)?);
        }
    }
    Ok(())
}

/// What there is to say of a crowd: grants a second under the name itself, then its fairness and its waits.
pub(crate) fn note(figures: &mut Figures, name: &str, crowd: &mut Crowd) {
    let (stem, size) =
        name.split_once('@').map_or((name, String::new()), |(stem, size)| (stem, format!("@{size}")));
    figures.add(name, crowd.rate());
    figures.add(format!("{stem}.jain{size}"), jain(&crowd.shares));
    figures.add(format!("{stem}.mean{size}"), crowd.waits.mean_micros());
    figures.add(format!("{stem}.p999{size}"), crowd.waits.micros(0.999));
    figures.add(format!("{stem}.worst{size}"), crowd.waits.micros(1.0));
}
