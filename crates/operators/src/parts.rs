//! What several operators are made of: the CSV encoder, streams of encoded rows, publishing objects, loading them, and
//! reading parameters.

pub mod asking;
pub mod change;
pub mod checks;
pub mod column_name;
pub mod copying;
pub mod files;
pub mod loads;
pub mod one_select;
pub mod option_words;
pub mod parameter;
pub mod proof;
pub mod reads;
pub mod report;
pub mod scalar;
pub mod scratch_name;
pub mod script;
pub mod sensor;
pub mod table_name;
pub mod truth;
pub mod unload_options;
pub mod written_moments;
