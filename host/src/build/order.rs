use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, try_join_all};
use tokio::sync::OnceCell;

use super::error::BuildError;
use super::plan::{Planner, StagePlan};
use crate::graph::Base;

impl Planner {
    /// The plan of a stage and of all that it needs. What is wrong with one is among the problems, and the rest is planned all the same.
    ///
    /// # Errors
    /// The stage does not exist.
    pub fn plan(&self, index: usize) -> BoxFuture<'_, Result<Arc<StagePlan>, BuildError>> {
        async move {
            // Wave by wave, and each from its bases up: a Dockerfile decides how many stages lie below one, and must not decide how deep
            // the stack is.
            let mut seen = BTreeSet::from([index]);
            let mut wave = vec![index];
            while !wave.is_empty() {
                let plans = try_join_all(wave.iter().map(|index| self.with_bases(*index))).await?;
                wave = plans.iter().flat_map(|plan| plan.needs()).filter(|needed| seen.insert(*needed)).collect();
            }
            self.own(index).await
        }
        .boxed()
    }

    /// The plan of a stage, where it has been made.
    pub fn planned(&self, index: usize) -> Option<Arc<StagePlan>> {
        self.plans.get(index).and_then(OnceCell::get).map(Arc::clone)
    }

    /// The stages that must be built before a planned one can be, and those before them.
    pub fn below(&self, index: usize) -> BTreeSet<usize> {
        let mut below = BTreeSet::new();
        let mut next = vec![index];
        while let Some(index) = next.pop() {
            let plan = self.plans.get(index).and_then(OnceCell::get);
            next.extend(plan.iter().flat_map(|plan| plan.needs()).filter(|needed| below.insert(*needed)));
        }
        below
    }

    /// The plan of a stage, after those of its bases.
    async fn with_bases(&self, index: usize) -> Result<Arc<StagePlan>, BuildError> {
        let mut chain = vec![index];
        let mut top = index;
        while let Some(Base::Stage(base)) = self.graph.stages.get(top).map(|stage| &stage.base) {
            chain.push(*base);
            top = *base;
        }
        for index in chain.into_iter().rev() {
            self.own(index).await?;
        }
        self.own(index).await
    }

    /// The plan of a stage alone; its base has been planned.
    async fn own(&self, index: usize) -> Result<Arc<StagePlan>, BuildError> {
        let cell = self.plans.get(index).ok_or_else(|| BuildError::other(format!("stage {index} does not exist")))?;
        cell.get_or_try_init(|| async { self.make(index).await.map(Arc::new) }).await.map(Arc::clone)
    }
}
