// The CustomResourceDefinitions of reports of policies, which the tests install as an administrator would: OpenReports,
// and the PolicyReport API before it out of a module that still carries it. Nothing of either is built.
module azpolicy.dev/tools/reports

go 1.26.0

require (
	github.com/kyverno/kyverno v1.13.4
	github.com/openreports/reports-api v0.2.1
)
