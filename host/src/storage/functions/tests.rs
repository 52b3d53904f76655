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

#[test]
fn patches_are_those_of_sqlite_and_bounded() {
    crate::storage::heap::install();
    let theirs = Connection::open_in_memory().unwrap();
    let ours = Connection::open_in_memory().unwrap();
    install(&ours).unwrap();
    let values = [
        "NULL",
        "'{}'",
        "'{\"a\":1,\"b\":2}'",
        "'{\"a\":null,\"c\":{\"d\":1.50}}'",
        "'[1,2]'",
        "3",
        "'{a:1}'",
        "'{'",
        "x'00'",
        "x'ff'",
        "jsonb('{\"a\":{\"b\":null}}')",
        "json('{\"a\":[1]}')",
        "'\"text\"'",
        "''",
    ];
    let answer = |conn: &Connection, text: &str| -> Result<String, String> {
        let sql = format!("SELECT typeof(r) || hex(r) || json_array(r) || subtype(r) FROM (SELECT {text} AS r)");
        let sql = if text.starts_with("jsonb") {
            format!("SELECT typeof(r) || hex(r) FROM (SELECT {text} AS r)")
        } else {
            sql
        };
        conn.query_row(&sql, (), |row| row.get::<_, Option<String>>(0))
            .map(|text| text.unwrap_or_default())
            .map_err(|error| error.to_string())
    };
    for one in values {
        for other in values {
            for function in ["json_patch", "jsonb_patch"] {
                let text = format!("{function}({one}, {other})");
                assert_eq!(answer(&ours, &text), answer(&theirs, &text), "{text}");
            }
        }
    }
    let object = |count: u32| {
        format!(
            "{{{}\"x\":1}}",
            (0..count).map(|i| format!("\"{i}\":1,")).collect::<String>()
        )
    };
    let patch = |one: &str, other: &str| {
        ours.query_row("SELECT length(json_patch(?1, ?2))", (one, other), |row| {
            row.get::<_, i64>(0)
        })
    };
    assert!(patch(&object(100_000), "{\"0\":null}").unwrap() > 700_000);
    assert!(patch("{}", &object(3_000)).unwrap() > 20_000);
    // 2^15 bytes times 2^17.
    let sized = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    assert!(patch(&sized((3 << 15) - 1), &sized(1 << 15)).is_ok());
    assert!(patch(&sized(3 << 15), &sized(1 << 15)).is_ok());
    assert!(patch(&sized((3 << 15) + 1), &sized(1 << 15)).is_err());
    assert!(
        patch(&object(100_000), &object(100_000))
            .unwrap_err()
            .to_string()
            .contains("too large")
    );
}

/// Texts and queries of few words, so that there are many matches.
#[test]
fn excerpts_are_those_of_sqlite() {
    crate::storage::heap::install();
    let theirs = Connection::open_in_memory().unwrap();
    let ours = Connection::open_in_memory().unwrap();
    install(&ours).unwrap();
    let mut seed = 5_u32;
    let mut below = |limit: usize| {
        seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        (seed >> 16) as usize % limit
    };
    let words = [
        "one", "two", "three", "Ones", "zwei", "é", "x. ", "y:\n", ".", "  ", "twos", "日本",
    ];
    let queries = [
        "one",
        "one OR two",
        "one two",
        "\"one two\"",
        "\"one two\" OR \"two three\"",
        "NEAR(one two, 3)",
        "on*",
        "one + two + one",
        "a : one",
        "{b} : two",
        "one NOT zwei",
        "^one",
        "one AND (two OR three)",
        "\"one one\" OR one",
        "é OR 日本",
    ];
    let mut count = 0;
    for (number, options) in [
        "",
        ", tokenize='porter'",
        ", tokenize='trigram'",
        ", detail=column",
        ", detail=none",
        ", content=''",
    ]
    .into_iter()
    .enumerate()
    {
        let mut script = format!("CREATE VIRTUAL TABLE f{number} USING fts5(a, b{options});");
        for length in 0..60 {
            let mut text = || {
                (0..below(length + 1))
                    .map(|_| words[below(words.len())])
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            let (a, b) = (text(), text());
            script += &format!(
                "INSERT INTO f{number}(rowid, a, b) VALUES({}, '{a}', '{b}');",
                length + 1
            );
        }
        theirs.execute_batch(&script).unwrap();
        ours.execute_batch(&script).unwrap();
        for query in queries {
            for function in [
                "highlight(f, 0, '<', '>')",
                "highlight(f, 1, '[[', ']]')",
                "highlight(f, 2, '<', '>')",
                "highlight(f, -1, '<', '>')",
                "highlight(f, 0, NULL, '>')",
                "highlight(f, 0, '', x'')",
                "highlight(f, 0, '<')",
                "snippet(f, 0, '<', '>', '...', 5)",
                "snippet(f, -1, '<', '>', '...', 3)",
                "snippet(f, 1, '<', '>', '', 64)",
                "snippet(f, -1, '', '', '..', 1)",
                "snippet(f, -1, '<', '>', '...', 0)",
                "snippet(f, 0, '<', '>', '...', -5)",
                "snippet(f, 5, '<', '>', '...', 4)",
                "snippet(f, -1, '<', '>', NULL, 10)",
                "snippet(f, 0, '<', '>', '...')",
            ] {
                let text = format!(
                    "SELECT rowid, {} FROM f{number}('{query}') ORDER BY rowid",
                    function.replace("(f,", &format!("(f{number},"))
                );
                let all = |conn: &Connection| -> Result<Vec<(i64, Option<String>)>, String> {
                    let mut statement = conn.prepare(&text).map_err(|error| error.to_string())?;
                    let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
                    rows.collect::<Result<_, _>>().map_err(|error| error.to_string())
                };
                let found = all(&ours);
                assert_eq!(found, all(&theirs), "{text}");
                count += found.map_or(0, |rows| rows.len());
            }
        }
    }
    assert!(count > 10_000, "{count}");
}
