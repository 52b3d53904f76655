//! Each function answers what SQLite's own answers, and is done in time.

use super::*;

/// Two connections, one with SQLite's own functions, must answer the same.
#[test]
fn they_answer_what_sqlite_answers() {
    crate::storage::heap::install();
    let theirs = Connection::open_in_memory().unwrap();
    let ours = Connection::open_in_memory().unwrap();
    install(&ours).unwrap();
    let mut values: Vec<String> = [
        "NULL",
        "''",
        "x''",
        "0",
        "1",
        "-12.5",
        "1e300",
        "'a'",
        "'b'",
        "'ab'",
        "'aab'",
        "'aaaab'",
        "'é'",
        "'éa'",
        "'日本語'",
        "'本'",
        "x'61'",
        "x'c3'",
        "x'a9'",
        "x'00'",
        "x'6100'",
        "CAST(x'a9' AS TEXT)",
        "CAST(x'c3a9a9' AS TEXT)",
        "CAST(x'61006200' AS TEXT)",
        "CAST(x'00' AS TEXT)",
        "CAST(x'a9a9' AS TEXT)",
        "'12'",
        "'12-34 ab,é'",
        "' -,é'",
        "'éab日aé'",
        "CAST(x'c361c3a9c3' AS TEXT)",
        "CAST(x'c3c3a9' AS TEXT)",
        "CAST(x'c3a9c3' AS TEXT)",
        "CAST(x'eda080313233' AS TEXT)",
        "CAST(x'efbfbd' AS TEXT)",
        "CAST(x'ff3132' AS TEXT)",
        "'.5'",
        "'2.5'",
        "'AB'",
        "zeroblob(3)",
    ]
    .map(str::to_owned)
    .into();
    // Texts of two letters, where prefixes come back.
    let mut seed = 9_u32;
    for length in 1..14 {
        let letters = (0..length).map(|_| {
            seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            ["a", "b", "é"][(seed >> 16) as usize % 3]
        });
        values.push(format!("'{}'", letters.collect::<String>()));
    }
    let answer = |conn: &Connection, text: &str| -> String {
        let sql = format!("SELECT typeof(r), hex(r), r IS NULL FROM (SELECT {text} AS r)");
        conn.query_row(&sql, (), |row| {
            Ok(format!(
                "{} {} {}",
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, bool>(2)?
            ))
        })
        .unwrap()
    };
    let mut count = 0;
    for one in &values {
        for other in &values {
            let mut texts: Vec<String> = ["instr", "trim", "ltrim", "rtrim", "unhex"]
                .map(|name| format!("{name}({one}, {other})"))
                .into();
            texts.extend(
                ["NULL", "''", "'x'", "'longer'", "7", "x'ff'", other]
                    .map(|by| format!("replace({one}, {other}, {by})")),
            );
            for text in texts {
                assert_eq!(answer(&ours, &text), answer(&theirs, &text), "{text}");
                count += 1;
            }
        }
    }
    assert!(count > 10_000);
}

#[test]
fn long_texts_take_no_time_and_too_long_ones_are_refused() {
    crate::storage::heap::install();
    let conn = Connection::open_in_memory().unwrap();
    install(&conn).unwrap();
    let (long, half) = ("a".repeat(8 << 20), "a".repeat(4 << 20) + "b");
    // With SQLite's own functions this test does not end.
    for text in [
        "SELECT instr(?1, ?2)",
        "SELECT instr(CAST(?1 AS BLOB), CAST(?2 AS BLOB))",
    ] {
        let at: i64 = conn.query_row(text, (&long, &half), |row| row.get(0)).unwrap();
        assert_eq!(at, 0);
    }
    let dashes = "-".repeat(1 << 20);
    let set = (0..60_000)
        .map(|code| char::from_u32(0x2_0000 + code % 0x1_0000))
        .chain([Some('-')]);
    let set: String = set.map(|character| character.unwrap()).collect();
    for function in ["trim", "ltrim", "rtrim", "unhex"] {
        let text = format!("SELECT length({function}(?1, ?2))");
        let left: i64 = conn.query_row(&text, (&dashes, &set), |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "{function}");
    }
    let error = conn
        .query_row("SELECT trim('a', CAST(x'c3a9a9a9a9a9a9a9' AS TEXT))", (), |row| {
            row.get::<_, String>(0)
        })
        .unwrap_err();
    assert!(error.to_string().contains("not UTF-8"), "{error}");
    let same: String = conn
        .query_row("SELECT replace(?1, ?2, 'x')", (&long, &half), |row| row.get(0))
        .unwrap();
    assert_eq!(same.len(), long.len());
    let error = conn
        .query_row("SELECT replace(?1, 'a', 'bb')", [&long], |row| row.get::<_, String>(0))
        .unwrap_err();
    assert!(error.to_string().contains("too big"), "{error}");
}
