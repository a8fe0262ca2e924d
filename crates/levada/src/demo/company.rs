//! A made-up trading company: its database as one SQL script that SQLite and PostgreSQL both take.
//!
//! Everything follows from row numbers, so every run has the same company.

use std::fmt::Write as _;

/// How many customers trade.
pub const CUSTOMERS: usize = 900;
/// How many products they can choose from.
pub const PRODUCTS: usize = 400;
/// Who makes them.
pub const SUPPLIERS: usize = 60;
/// What they ordered so far.
pub const ORDERS: usize = 2_500;
/// Rows in one INSERT.
const ROWS_PER_INSERT: usize = 200;

const FIRST: [&str; 12] =
    ["Ana", "Bruno", "Carla", "Diogo", "Elena", "Frédéric", "Greta", "Håkon", "Inês", "João", "Katja", "Luís"];
const LAST: [&str; 11] =
    ["Almeida", "Bergström", "Costa", "Dubois", "Esteves", "Ferreira", "Gruber", "O'Hara", "Ito", "Jensen", "Kovač"];
const CITIES: [(&str, &str); 9] = [
    ("Funchal", "Portugal"),
    ("Porto", "Portugal"),
    ("Lyon", "France"),
    ("Graz", "Austria"),
    ("Bergen", "Norway"),
    ("Cork", "Ireland"),
    ("Leipzig", "Germany"),
    ("Boise", "USA"),
    ("Osaka", "Japan"),
];
const GOODS: [&str; 10] =
    ["Honey", "Bananas", "Wine", "Sugar Cane", "Passion Fruit", "Cheese", "Olive Oil", "Tea", "Cod", "Bread"];
const TRADES: [&str; 7] = ["Traders", "& Sons", "Import", "Kitchens", "Market", "Foods", "Co-operative"];

/// The tables and their rows.
pub fn script() -> String {
    let mut sql = String::new();
    table(
        &mut sql,
        "categories",
        "category_id int PRIMARY KEY, category_name varchar(15) NOT NULL, description text",
        {
            GOODS
                .iter()
                .enumerate()
                .map(|(n, name)| format!("{}, {}, {}", n + 1, text(name), text("From the mountain's terraces")))
        },
    );
    table(
        &mut sql,
        "suppliers",
        &format!("supplier_id int PRIMARY KEY, company_name varchar(40) NOT NULL, {CONTACT}, homepage text"),
        {
            (0..SUPPLIERS).map(|n| {
                let home = if n % 3 == 0 { "NULL".to_owned() } else { text(&format!("https://supplier{n}.example")) };
                format!(
                    "{}, {}, {}, {home}",
                    n + 1,
                    text(&format!("{} {}", LAST[n % 11], GOODS[n % 10])),
                    contact(n + 5)
                )
            })
        },
    );
    table(
        &mut sql,
        "customers",
        &format!("customer_id varchar(5) PRIMARY KEY, company_name varchar(40) NOT NULL, {CONTACT}"),
        (0..CUSTOMERS).map(customer),
    );
    table(
        &mut sql,
        "products",
        "product_id int PRIMARY KEY, product_name varchar(40) NOT NULL, supplier_id int, category_id int, \
         quantity_per_unit varchar(20), unit_price decimal(10,2), units_in_stock int, units_on_order int, \
         reorder_level int, discontinued boolean NOT NULL",
        (0..PRODUCTS).map(product),
    );
    table(
        &mut sql,
        "orders",
        "order_id int PRIMARY KEY, customer_id varchar(5), order_date date, required_date date, shipped_date date, \
         freight decimal(10,2), ship_country varchar(15)",
        (0..ORDERS).map(order),
    );
    sql
}

/// A working day: one new customer, two who moved, one who left, one price.
pub const A_DAY_LATER: &str = "\
    INSERT INTO customers (customer_id, company_name, contact_name, city, country, phone) \
        VALUES ('NEWCO', 'Levada Walkers', 'Maria Gouveia', 'Funchal', 'Portugal', '+351 291 000 001');
    UPDATE customers SET city = 'Machico', contact_name = 'Rui Freitas' WHERE customer_id IN ('C0007', 'C0042');
    DELETE FROM customers WHERE customer_id = 'C0100';
    UPDATE products SET unit_price = 19.90 WHERE product_id = 11;";

const CONTACT: &str = "contact_name varchar(30), contact_title varchar(30), address varchar(60), city varchar(15), \
     region varchar(15), postal_code varchar(10), country varchar(15), phone varchar(24), fax varchar(24)";

fn contact(n: usize) -> String {
    let (city, country) = CITIES[n % 9];
    let region = if n.is_multiple_of(4) { "NULL".to_owned() } else { text(&format!("Region {}", n % 7)) };
    let fax = if n.is_multiple_of(2) {
        "NULL".to_owned()
    } else {
        text(&format!("+{:02} {:06}", n % 90 + 10, n * 77 % 1_000_000))
    };
    format!(
        "{}, 'Buyer', {}, {}, {region}, '{:04}-{:03}', {}, '+{:02} {:06}', {fax}",
        text(&format!("{} {}", FIRST[n % 12], LAST[n * 5 % 11])),
        text(&format!("{} Terrace Road", n + 1)),
        text(city),
        n * 13 % 10_000,
        n * 7 % 1_000,
        text(country),
        n % 90 + 10,
        n * 31 % 1_000_000,
    )
}

fn customer(n: usize) -> String {
    let name = format!("{} {} {}", LAST[n * 3 % 11], TRADES[n % 7], n + 1);
    format!("'C{:04}', {}, {}", n + 1, text(&name), contact(n))
}

fn product(n: usize) -> String {
    let name = format!("{} No. {}", GOODS[n % 10], n + 1);
    format!(
        "{}, {}, {}, {}, '{} boxes', {}.{:02}, {}, {}, 10, {}",
        n + 1,
        text(&name),
        n % SUPPLIERS + 1,
        n % 10 + 1,
        n % 24 + 1,
        n % 90 + 1,
        n * 7 % 100,
        n * 13 % 200,
        n % 5 * 10,
        if n.is_multiple_of(37) { "TRUE" } else { "FALSE" },
    )
}

fn order(n: usize) -> String {
    let day = |offset: usize| format!("'2026-{:02}-{:02}'", (n / 28 + offset / 28) % 12 + 1, (n + offset) % 28 + 1);
    let shipped = if n.is_multiple_of(9) { "NULL".to_owned() } else { day(3) };
    format!(
        "{}, 'C{:04}', {}, {}, {shipped}, {}.{:02}, {}",
        10_000 + n,
        n * 17 % CUSTOMERS + 1,
        day(0),
        day(20),
        n % 150,
        n * 3 % 100,
        text(CITIES[n * 17 % CUSTOMERS % 9].1),
    )
}

fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

fn table(sql: &mut String, name: &str, columns: &str, rows: impl Iterator<Item = String>) {
    writeln!(sql, "CREATE TABLE {name} ({columns});").expect("writing to a string never fails");
    let rows: Vec<String> = rows.map(|row| format!("({row})")).collect();
    for piece in rows.chunks(ROWS_PER_INSERT) {
        writeln!(sql, "INSERT INTO {name} VALUES {};", piece.join(", ")).expect("writing to a string never fails");
    }
}
