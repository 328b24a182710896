package mysqlx

// For the tests against a real server, which are in the package mysqlx_test because mysqltest imports this one.
var (
	QuoteString = quoteString
	GTIDText    = gtidText
)
