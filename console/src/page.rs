//! The page at `/`: it names the endpoints.

/// Every endpoint: path, and what it gives. The router's test asks for each.
pub(crate) const ENDPOINTS: [(&str, &str); 13] = [
    ("/api/v1/status", "the roles that run, their gauges, version and uptime"),
    ("/api/v1/accounts", "every account with its balances, and the sums per currency (zero)"),
    ("/api/v1/transfers", "the ledger's transfers, newest first: ?limit=&amp;after="),
    ("/api/v1/cdrs", "call detail records, newest first: ?limit=&amp;after="),
    ("/api/v1/cdrs/{transaction}", "one call detail record with every usage report"),
    ("/api/v1/authorizations", "authorized calls, newest first: ?limit=&amp;after="),
    ("/api/v1/calls/open", "calls that are not settled, with their live bills, oldest first: ?limit=&amp;after="),
    ("/api/v1/audit", "what an auditor wants to know, newest first: ?limit=&amp;after="),
    ("/api/v1/bill/{transaction}", "what a call costs so far, or did cost"),
    ("/api/v1/prove", "proves the books: 200 when they balance, 500 with the imbalance"),
    ("/api/v1/certificates", "device certificates that were issued"),
    ("/metrics", "every gauge for Prometheus"),
    ("/", "this page"),
];

/// The page.
pub(crate) fn html() -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Strowger</title>\n\
         <h1>Strowger</h1>\n<p>A telephone exchange and its clearinghouse. Everything here is read with GET.\n<dl>\n",
    );
    for (path, what) in ENDPOINTS {
        let shown = if path.contains('{') { path.to_owned() } else { format!("<a href=\"{path}\">{path}</a>") };
        page.push_str(&format!("<dt><code>{shown}</code>\n<dd>{what}\n"));
    }
    page.push_str("</dl>\n");
    page
}
