//! What the planner decides, as stories.

mod dependencies;
mod explained;
mod runs;
mod script;
mod slots;
mod tries;
