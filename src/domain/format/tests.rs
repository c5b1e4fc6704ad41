//! Values as files have them, and as people read them.

use super::*;
use proptest::prelude::*;

fn check(format: Format, text: &str, expect: Result<&str, &str>) {
    let mut out = String::new();
    let found = format.apply(text, &mut out).map(|_| out.as_str()).map_err(FormatError::reason_code);
    assert_eq!(found, expect, "{text} as {}", format.as_str());
}

#[test]
fn first_names() {
    for (text, expect) in [
        ("MARIA DA SILVA", Ok("Maria")),
        ("maria", Ok("Maria")),
        ("D'ÁVILA COSTA", Ok("D'Ávila")),
        ("JOÃO-PEDRO ALVES", Ok("João-Pedro")),
        ("ÉRICA", Ok("Érica")),
        ("Dr. JOSÉ LIMA", Ok("José")),
        ("SRA MARIA LIMA", Ok("Maria")),
        ("DONA ANA", Ok("Ana")),
        ("D. ANA", Ok("Ana")),
        ("Profª CÉLIA", Ok("Célia")),
        ("IR LIMA", Ok("Ir")),
        ("ZÉ", Ok("Zé")),
        ("J. CARLOS", Err("name_initial")),
        ("D ANA", Err("name_initial")),
        ("DR.", Err("name_only_title")),
        ("SILVA, MARIA", Err("name_order")),
        ("MERCADO SÃO JOSÉ LTDA", Err("name_company")),
        ("Padaria Lima S/A", Err("name_company")),
        ("MARIA2", Err("name_character")),
        ("***", Err("name_character")),
        ("JoÃ£o", Err("name_garbled")),
        ("JosÃ©", Err("name_garbled")),
        ("Jo\u{fffd}o", Err("name_garbled")),
        ("JOÃO", Ok("João")),
    ] {
        check(Format::FirstName, text, expect);
    }
}

#[test]
fn amounts() {
    let comma = Format::Brl(BrlInput::Comma);
    for (text, expect) in [
        ("1.234,56", Ok("R$\u{a0}1.234,56")),
        ("1234,56", Ok("R$\u{a0}1.234,56")),
        ("R$ 1.234.567,89", Ok("R$\u{a0}1.234.567,89")),
        ("R$\u{a0}15,00", Ok("R$\u{a0}15,00")),
        ("150,5", Ok("R$\u{a0}150,50")),
        ("0,07", Ok("R$\u{a0}0,07")),
        ("1234", Ok("R$\u{a0}1.234,00")),
        ("1.234.567", Ok("R$\u{a0}1.234.567,00")),
        ("1.234", Err("amount_ambiguous")),
        ("1234.56", Err("amount_decimal_point")),
        ("1,234.56", Err("amount_invalid")),
        ("12.34,56", Err("amount_grouping")),
        ("1,234", Err("amount_decimals")),
        ("-15,00", Err("amount_negative")),
        ("(15,00)", Err("amount_negative")),
        ("1,23457E+05", Err("value_scientific")),
        ("99.999.999.999,00", Err("amount_too_large")),
        ("99999999999999999999,00", Err("amount_too_large")),
        ("a combinar", Err("amount_invalid")),
        ("15,", Err("amount_invalid")),
        (",50", Err("amount_invalid")),
        ("1,2,3", Err("amount_invalid")),
        ("1,.5", Err("amount_invalid")),
        ("1.234,.5", Err("amount_invalid")),
        (".123,00", Err("amount_grouping")),
    ] {
        check(comma, text, expect);
    }
    check(Format::Amount(BrlInput::Cents), "123456", Ok("1.234,56"));
    let point = Format::Brl(BrlInput::Point);
    check(point, "1234.56", Ok("R$\u{a0}1.234,56"));
    check(point, "1234.5", Ok("R$\u{a0}1.234,50"));
    check(point, "1234", Ok("R$\u{a0}1.234,00"));
    check(point, "1.234,56", Err("amount_comma"));
    check(point, "1234.567", Err("amount_decimals"));
    let cents = Format::Brl(BrlInput::Cents);
    check(cents, "123456", Ok("R$\u{a0}1.234,56"));
    check(cents, "123456.0", Err("value_decimal_tail"));
    check(cents, "1234.56", Err("amount_not_cents"));
    check(cents, "1,5E+05", Err("value_scientific"));
}

#[test]
fn days() {
    let day = Format::Date(DateInput::DayMonthYear);
    for (text, expect) in [
        ("01/12/2026", Ok("01/12/2026")),
        ("01-12-2026", Ok("01/12/2026")),
        ("01.12.2026", Ok("01/12/2026")),
        ("2026-12-01", Ok("01/12/2026")),
        ("01/12/2026 00:00:00", Ok("01/12/2026")),
        ("2026-12-01T00:00:00", Ok("01/12/2026")),
        ("29/02/2028", Ok("29/02/2028")),
        ("01/12/2026 13:45", Err("date_time")),
        ("29/02/2027", Err("date_no_such_day")),
        ("12/31/2026", Err("date_no_such_day")),
        ("1/12/2026", Err("date_one_digit")),
        ("12/1/26", Err("date_one_digit")),
        ("01/12/26", Err("date_short_year")),
        ("46357", Err("date_serial")),
        ("46357,5", Err("date_serial")),
        ("20261201", Err("date_shape")),
        ("01/12/1026", Err("date_year")),
        ("amanhã", Err("date_shape")),
        ("4,6357E+04", Err("value_scientific")),
    ] {
        check(day, text, expect);
    }
    check(Format::Date(DateInput::MonthDayYear), "12/01/2026", Ok("01/12/2026"));
    check(Format::Date(DateInput::Iso), "01/12/2026", Err("date_shape"));
    check(Format::Date(DateInput::Iso), "2026-12-01 00:00:00", Ok("01/12/2026"));
    check(Format::Date(DateInput::Compact), "20261201", Ok("01/12/2026"));
    check(Format::Date(DateInput::Compact), "46357", Err("date_serial"));
}

#[test]
fn months() {
    check(Format::Month(MonthInput::MonthYear), "11/2026", Ok("novembro de 2026"));
    check(Format::Month(MonthInput::MonthYear), "1/2026", Err("date_one_digit"));
    check(Format::Month(MonthInput::MonthYear), "11/26", Err("date_short_year"));
    check(Format::Month(MonthInput::MonthYear), "13/2026", Err("date_no_such_day"));
    check(Format::Month(MonthInput::MonthYear), "2026-11-15", Ok("novembro de 2026"));
    check(Format::Month(MonthInput::Iso), "2026-11", Ok("novembro de 2026"));
    check(Format::Month(MonthInput::Name), "Março/2026", Ok("março de 2026"));
    check(Format::Month(MonthInput::Name), "DEZ/2026", Ok("dezembro de 2026"));
    check(Format::Month(MonthInput::Name), "dezembro de 2026", Ok("dezembro de 2026"));
    check(Format::Month(MonthInput::Name), "dez/26", Err("date_short_year"));
    check(Format::Month(MonthInput::Name), "brumário/2026", Err("date_shape"));
    check(Format::Month(MonthInput::DayMonthYear), "15/11/2026", Ok("novembro de 2026"));
    check(Format::Month(MonthInput::DayMonthYear), "46357", Err("date_serial"));
}

#[test]
fn digits_and_documents() {
    let any = Format::Digits { length: None };
    let eight = Format::Digits { length: Some(8) };
    check(any, "12.345-6", Ok("123456"));
    check(any, "'0012", Ok("0012"));
    check(any, "12345.0", Err("value_decimal_tail"));
    check(any, "1,23457E+11", Err("value_scientific"));
    check(any, "A12", Err("value_not_digits"));
    check(any, "-", Err("value_not_digits"));
    check(any, &"1".repeat(300), Err("value_too_many_digits"));
    check(eight, "00123456", Ok("00123456"));
    check(eight, "123456", Err("value_zeros_lost"));
    check(eight, "123456789", Err("value_too_many_digits"));
    check(Format::Cpf, "123.456.789-09", Ok("***.456.789-**"));
    check(Format::Cpf, "1234567890", Err("value_zeros_lost"));
    check(Format::Cpf, "11222333000181", Err("document_other_kind"));
    check(Format::Cnpj, "12ABC34501DE35", Ok("**.ABC.345/****-**"));
    check(Format::Cnpj, "1,1222E+13", Err("value_scientific"));
    check(Format::Document, "11222333000181", Ok("**.222.333/****-**"));
    check(Format::Document, "12345678900", Err("document_check"));
    check(
        Format::Boleto,
        "00190.00009 01234.567004 00000.101170 8 16560000015075",
        Ok("00190000090123456700400000101170816560000015075"),
    );
}

#[test]
fn a_spreadsheets_number_is_known_in_a_text() {
    for (text, expect) in [
        ("5,51199E+12", true),
        ("5.51199E+12", true),
        ("1,5E+9", true),
        ("1,5E+123", true),
        ("12E4", false),
        ("5E+12", false),
        ("CT1,5E+12", false),
        ("C+", false),
        ("é+1", false),
        ("", false),
    ] {
        assert_eq!(is_spreadsheet_number(text), expect, "{text}");
    }
}

#[test]
fn reasons_name_the_rule() {
    let mut out = String::new();
    let error = Format::Brl(BrlInput::Comma).apply("1234.56", &mut out).unwrap_err();
    assert_eq!(error.to_string(), "has a decimal point, and the column is declared as \"1.234,56\"");
    assert_eq!(brl(123_456_789), "R$\u{a0}1.234.567,89");
}

proptest! {
    #[test]
    fn an_amount_comes_back_from_its_text(cents in 0u64..=999_999_999_999) {
        let text = brl(cents);
        let mut out = String::new();
        let fact = Format::Brl(BrlInput::Comma).apply(&text, &mut out).unwrap();
        prop_assert!(fact == Fact::Cents(cents));
        prop_assert_eq!(out, text);
    }

    #[test]
    fn nothing_makes_a_format_panic(text in "\\PC{1,30}|[0-9/.,E+-]{1,20}", which in 0usize..18) {
        let all = [
            Format::Text, Format::FirstName, Format::Brl(BrlInput::Comma), Format::Brl(BrlInput::Point),
            Format::Brl(BrlInput::Cents), Format::Date(DateInput::DayMonthYear), Format::Date(DateInput::MonthDayYear),
            Format::Date(DateInput::Iso), Format::Date(DateInput::Compact), Format::Month(MonthInput::MonthYear),
            Format::Month(MonthInput::Iso), Format::Month(MonthInput::Name), Format::Digits { length: None },
            Format::Cpf, Format::Cnpj, Format::Document, Format::Boleto, Format::Pix,
        ];
        let mut out = String::new();
        let _ = all[which].apply(&text, &mut out);
    }
}
