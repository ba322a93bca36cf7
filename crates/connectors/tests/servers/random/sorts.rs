//! The kinds of column that each source has, with values of each: the usual ones, and those at the ends.

use super::dice::Dice;
use super::plain::Form;
use crate::copies::databases::Kind;

/// A kind of column.
#[derive(Debug, Clone, Copy)]
pub struct Sort {
    pub ddl: &'static str,
    /// How its values are compared.
    pub form: Form,
    values: Values,
}

#[derive(Debug, Clone, Copy)]
enum Values {
    Whole(i128, i128),
    /// Digits before the point and behind it.
    Fraction(u64, u64),
    /// Halves: what a number of SQLite holds.
    Half,
    Single,
    Double,
    Flag,
    Bits(u64),
    BitString(u64),
    /// Characters at most.
    Text(u64),
    Latin,
    /// Now and then a long one.
    Long,
    /// Least and most bytes.
    Bytes(u64, u64),
    /// The first year and the last, digits of a second; -1 for a day alone.
    Moment(u64, u64, i8),
    Zoned,
    Clock(&'static str),
    BeyondADay,
    Uuid,
    /// As the SQL of the source writes them.
    One(&'static [&'static str]),
}

const fn sort(ddl: &'static str, form: Form, values: Values) -> Sort {
    Sort { ddl, form, values }
}

const DOCUMENTS: Values =
    Values::One(&[r#"'{"a": [1, null]}'"#, "'[]'", "'\"한글\"'", "'1.5'", "'true'", "'{}'", r#"'{"b": {"": ""}}'"#]);

const OF_MARIA: &[Sort] = &[
    sort("tinyint", Form::Number, Values::Whole(-128, 127)),
    sort("tinyint unsigned", Form::Number, Values::Whole(0, 255)),
    sort("smallint", Form::Number, Values::Whole(-32_768, 32_767)),
    sort("smallint unsigned", Form::Number, Values::Whole(0, 65_535)),
    sort("mediumint", Form::Number, Values::Whole(-8_388_608, 8_388_607)),
    sort("mediumint unsigned", Form::Number, Values::Whole(0, 16_777_215)),
    sort("int", Form::Number, Values::Whole(i32::MIN as i128, i32::MAX as i128)),
    sort("int(9) unsigned zerofill", Form::Number, Values::Whole(0, u32::MAX as i128)),
    sort("bigint", Form::Number, Values::Whole(i64::MIN as i128, i64::MAX as i128)),
    sort("bigint unsigned", Form::Number, Values::Whole(0, u64::MAX as i128)),
    sort("decimal(65,30)", Form::Number, Values::Fraction(35, 30)),
    sort("decimal(38,10)", Form::Number, Values::Fraction(28, 10)),
    sort("decimal(5,2)", Form::Number, Values::Fraction(3, 2)),
    sort("float", Form::Single, Values::Single),
    sort("double", Form::Double, Values::Double),
    sort("boolean", Form::Truth, Values::Flag),
    sort("bit(1)", Form::Bits, Values::Bits(1)),
    sort("bit(9)", Form::Bits, Values::Bits(9)),
    sort("bit(64)", Form::Bits, Values::Bits(64)),
    sort("char(5)", Form::Padded, Values::Text(5)),
    sort("varchar(200)", Form::Text, Values::Text(200)),
    sort("varchar(40) CHARACTER SET latin1", Form::Text, Values::Latin),
    sort("text", Form::Text, Values::Long),
    sort("longtext", Form::Text, Values::Text(200)),
    sort("json", Form::Json, DOCUMENTS),
    sort("enum('', '행복', 'x,y')", Form::Text, Values::One(&["''", "'행복'", "'x,y'"])),
    sort("set('x', 'y', '주')", Form::Text, Values::One(&["''", "'x'", "'x,주'", "'x,y,주'"])),
    sort("binary(4)", Form::Bytes, Values::Bytes(4, 4)),
    sort("varbinary(20)", Form::Bytes, Values::Bytes(0, 20)),
    sort("blob", Form::Bytes, Values::Bytes(0, 300)),
    sort("date", Form::Text, Values::Moment(1, 9999, -1)),
    sort("datetime", Form::Moment, Values::Moment(1, 9999, 0)),
    sort("datetime(6)", Form::Moment, Values::Moment(1, 9999, 6)),
    sort("timestamp(6) NULL", Form::Moment, Values::Moment(1971, 2037, 6)),
    sort("time(6)", Form::Clock, Values::BeyondADay),
    sort("year", Form::Number, Values::Whole(1901, 2155)),
    sort("uuid", Form::Text, Values::Uuid),
    sort("inet6", Form::Text, Values::One(&["'::1'", "'2001:db8::ff00:42:8329'"])),
];

const OF_POSTGRES: &[Sort] = &[
    sort("smallint", Form::Number, Values::Whole(-32_768, 32_767)),
    sort("integer", Form::Number, Values::Whole(i32::MIN as i128, i32::MAX as i128)),
    sort("bigint", Form::Number, Values::Whole(i64::MIN as i128, i64::MAX as i128)),
    sort("numeric(38,10)", Form::Number, Values::Fraction(28, 10)),
    sort("numeric(5,2)", Form::Number, Values::Fraction(3, 2)),
    sort("numeric", Form::Number, Values::One(&["'NaN'", "-12345678901234567890.5", "0.00000000000000000001", "0"])),
    sort("money", Form::Number, Values::One(&["'-1234.50'", "'92233720368547758.07'", "'0'"])),
    sort("real", Form::Single, Values::Single),
    sort("double precision", Form::Double, Values::Double),
    sort("real", Form::Single, Values::One(&["'NaN'", "'Infinity'", "'-Infinity'", "1e-45"])),
    sort("double precision", Form::Double, Values::One(&["'NaN'", "'Infinity'", "'-Infinity'", "5e-324"])),
    sort("boolean", Form::Truth, Values::Flag),
    sort("bit(7)", Form::Text, Values::One(&["B'0000000'", "B'1010101'"])),
    sort("bit varying(20)", Form::Text, Values::BitString(20)),
    sort("char(5)", Form::Padded, Values::Text(5)),
    sort("varchar(200)", Form::Text, Values::Text(200)),
    sort("text", Form::Text, Values::Long),
    sort("mood", Form::Text, Values::One(&["''", "'행복'", "'x,y'"])),
    sort("json", Form::Json, DOCUMENTS),
    sort("jsonb", Form::Json, DOCUMENTS),
    sort("bytea", Form::Bytes, Values::Bytes(0, 300)),
    sort("date", Form::Text, Values::Moment(1, 9999, -1)),
    sort("time", Form::Text, Values::Clock("")),
    sort("timetz", Form::Text, Values::Clock("+05:30")),
    sort("timestamp", Form::Moment, Values::Moment(1, 9999, 6)),
    sort("timestamp(0)", Form::Moment, Values::Moment(1, 9999, 0)),
    sort("timestamptz", Form::Moment, Values::Zoned),
    sort(
        "interval",
        Form::Text,
        Values::One(&["'1 year 2 months -3 days 25:00:00.5'", "'0'", "'-1 month'", "'-00:00:00.000001'"]),
    ),
    sort("uuid", Form::Text, Values::Uuid),
    sort("integer[]", Form::Text, Values::One(&["'{}'", "'{1,NULL,-2}'", "'{{1,2},{3,4}}'"])),
    sort(
        "text[]",
        Form::Text,
        Values::One(&["'{}'", "ARRAY['a,b', '', NULL]", "ARRAY['\\', '\"']", "'{한글}'", "ARRAY['NULL', E'a\\nb']"]),
    ),
    sort("hstore", Form::Text, Values::One(&["''", "'a=>1, \"b,\"=>NULL'", "'\"\"=>\"\\\\\"'"])),
    sort("inet", Form::Text, Values::One(&["'::1'", "'192.168.0.0/24'"])),
    sort("int4range", Form::Text, Values::One(&["'[1,4)'", "'empty'", "'(,5)'"])),
];

const OF_SQLITE: &[Sort] = &[
    sort("integer", Form::Number, Values::Whole(i64::MIN as i128 + 1, i64::MAX as i128)),
    sort("smallint", Form::Number, Values::Whole(-32_768, 32_767)),
    sort("decimal(30,10)", Form::Number, Values::Half),
    sort("real", Form::Double, Values::Double),
    sort("boolean", Form::Truth, Values::Flag),
    sort("varchar(200)", Form::Text, Values::Text(200)),
    sort("text", Form::Text, Values::Long),
    sort("blob", Form::Bytes, Values::Bytes(0, 300)),
    sort("date", Form::Text, Values::Moment(1, 9999, -1)),
    sort("timestamp", Form::Moment, Values::Moment(1, 9999, 6)),
    sort("time", Form::Clock, Values::Clock("")),
    sort("json", Form::Json, DOCUMENTS),
];

const PIECES: &[&str] = &[
    " ", "a", "A", "\\", "\\N", "\\.", "'", "\"", "\"\"", ",", "\n", "\r\n", "\r", "\t", "한글", "😀", "NULL",
    "<null>", "%s", "$1", "{{ x }}", "\u{200b}", "\u{1}", "\u{7f}",
];

impl Sort {
    pub fn any(dice: &mut Dice, source: Kind, target: Kind) -> Self {
        let all = match source {
            Kind::Maria => OF_MARIA,
            Kind::Lite => OF_SQLITE,
            Kind::Postgres | Kind::Redshift | Kind::Wire => OF_POSTGRES,
        };
        let mut chosen = dice.one_of(all);
        if target.is_redshift()
            && let Values::Bytes(0, most) = chosen.values
        {
            // A CSV field of no bytes is NULL in a VARBYTE column.
            chosen.values = Values::Bytes(1, most);
        }
        chosen
    }

    /// A value as the SQL of that source.
    #[expect(clippy::too_many_lines, reason = "a table: an arm for each sort")]
    pub fn value(&self, dice: &mut Dice, kind: Kind) -> String {
        if dice.is_one_in(7) {
            return "NULL".to_owned();
        }
        let clock = |dice: &mut Dice, digits: i8| {
            let clock = match dice.below(5) {
                0 => "00:00:00".to_owned(),
                1 => "23:59:59".to_owned(),
                _ => format!("{:02}:{:02}:{:02}", dice.below(24), dice.below(60), dice.below(60)),
            };
            match digits {
                6 => format!("{clock}.{}", dice.one_of(&["000001", "999999", "500000", "120000", "000000"])),
                _ => clock,
            }
        };
        let day = |dice: &mut Dice, first: u64, last: u64| match dice.below(6) {
            0 => format!("{first:04}-01-01"),
            1 => format!("{last:04}-12-31"),
            _ => {
                let year = first + dice.below(last - first + 1);
                format!("{year:04}-{:02}-{:02}", 1 + dice.below(12), 1 + dice.below(28))
            }
        };
        match self.values {
            Values::Whole(least, most) => match dice.below(4) {
                0 => least.to_string(),
                1 => most.to_string(),
                _ => (least + i128::from(dice.next()) % (most - least + 1)).to_string(),
            },
            Values::Fraction(before, behind) => match dice.below(5) {
                0 => format!("-{}.{}", "9".repeat(before as usize), "9".repeat(behind as usize)),
                1 => format!("0.{}1", "0".repeat(behind as usize - 1)),
                _ => {
                    let (whole, fraction) = (1 + dice.below(before), 1 + dice.below(behind));
                    format!("{}1{}.{}", dice.one_of(&["", "-"]), dice.digits(whole - 1), dice.digits(fraction))
                }
            },
            Values::Half => format!("{}.5", dice.below(1_000_000)),
            Values::Single => match dice.below(5) {
                0 => "3.4028234e38".to_owned(),
                1 => "1.1754944e-38".to_owned(),
                _ => format!("{}{}.{}", dice.one_of(&["", "-"]), dice.below(1_000), 1 + dice.below(999)),
            },
            Values::Double => match dice.below(6) {
                0 => "1.7976931348623157e308".to_owned(),
                1 => "2.2250738585072014e-308".to_owned(),
                2 => "-0.30000000000000004".to_owned(),
                _ => format!("{}{}e{}", dice.one_of(&["", "-"]), 1 + dice.next() / 7, dice.below(60) as i64 - 40),
            },
            Values::Flag => dice.one_of(&["TRUE", "FALSE"]).to_owned(),
            Values::Bits(length) => {
                let bits: String = (0..length).map(|_| dice.one_of(&['0', '1', '1'])).collect();
                format!("b'{bits}'")
            }
            Values::BitString(most) => {
                let bits: String = (0..dice.below(most + 1)).map(|_| dice.one_of(&['0', '1'])).collect();
                format!("B'{bits}'")
            }
            Values::Text(most) => quoted(&text(dice, most), kind),
            Values::Latin => quoted(dice.one_of(&["", "caf\u{e9}", "\u{ff}\u{a0}", "\\N", "a,\"b\""]), kind),
            Values::Long => match dice.below(8) {
                0 => quoted(&text(dice, 60).repeat(60), kind),
                _ => quoted(&text(dice, 60), kind),
            },
            Values::Bytes(least, most) => {
                let length = if dice.is_one_in(3) { least } else { least + dice.below(most - least + 1) };
                let hex: String =
                    (0..length).map(|_| dice.one_of(&["00", "ff", "5c", "4e", "0a", "22", "e5"])).collect();
                if kind == Kind::Postgres { format!("'\\x{hex}'") } else { format!("x'{hex}'") }
            }
            Values::Moment(first, last, -1) => format!("'{}'", day(dice, first, last)),
            Values::Moment(first, last, digits) => format!("'{} {}'", day(dice, first, last), clock(dice, digits)),
            Values::Zoned => format!("'{} {}+00'", day(dice, 1, 9999), clock(dice, 6)),
            Values::Clock(zone) => format!("'{}{zone}'", clock(dice, 6)),
            Values::BeyondADay => match dice.below(4) {
                0 => "'-838:59:59.999999'".to_owned(),
                1 => "'838:59:59.999999'".to_owned(),
                _ => format!("'{}{}:{:02}:59.5'", dice.one_of(&["", "-"]), dice.below(838), dice.below(60)),
            },
            Values::Uuid => format!("'{:08x}-0000-4000-8000-{:012x}'", dice.below(1 << 32), dice.below(1 << 48)),
            Values::One(values) => dice.one_of(values).to_owned(),
        }
    }
}

/// Not longer than so many characters.
fn text(dice: &mut Dice, most: u64) -> String {
    let whole: String = (0..dice.below(9)).map(|_| dice.one_of(PIECES)).collect();
    whole.chars().take(most as usize).collect()
}

/// As SQL; a backslash means something to MariaDB alone.
pub fn quoted(text: &str, kind: Kind) -> String {
    let text = text.replace('\'', "''");
    if kind == Kind::Maria { format!("'{}'", text.replace('\\', "\\\\")) } else { format!("'{text}'") }
}
