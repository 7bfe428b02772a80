# A stand-in for the provider that verifies images: its answer follows from the key, as it did when Azure's template was
# asked. An answer has the form of Gatekeeper's external data, and its values are Ratify's responses:
# https://open-policy-agent.github.io/gatekeeper/website/docs/externaldata
package standin

answer(request) = failure("there is no such provider") {
  not request.provider == "ratify-provider"
} else = failure("there is nothing to ask about") {
  count(request.keys) == 0
} else = failure("the provider is down") {
  contains(request.keys[_], "/down/")
} else = {"system_error": "", "status_code": 200, "errors": errors, "responses": responses} {
  errors := [[key, "the image cannot be read"] | key := request.keys[_]; contains(key, "/error/")]
  responses := [[key, verdict(key)] | key := request.keys[_]; not contains(key, "/error/")]
}

failure(error) = {"system_error": error, "status_code": 500, "errors": [], "responses": []}

verdict(key) = {"isSuccess": false, "verifierReports": [report("notation", false)]} {
  contains(key, "/unsigned/")
} else = {"isSuccess": false, "verifierReports": [report("notaryv2", false)]} {
  contains(key, "/oldname/")
} else = {"isSuccess": false, "verifierReports": [{"isSuccess": false, "message": "no referrers found"}]} {
  contains(key, "/noreferrer/")
} else = {"isSuccess": false, "verifierReports": [{"isSuccess": false, "message": "error resolving descriptor"}]} {
  contains(key, "/noregistry/")
} else = {"isSuccess": false, "verifierReports": [{"isSuccess": false}]} {
  contains(key, "/noartifact/")
} else = {"isSuccess": true, "verifierReports": []} {
  contains(key, "/silent/")
} else = {"isSuccess": true, "verifierReports": [{"isSuccess": true, "message": "verified"}]} {
  contains(key, "/unnamed/")
} else = {"isSuccess": true, "verifierReports": [report("cosign", false)]} {
  contains(key, "/otherverifier/")
} else = {"isSuccess": false, "verifierReports": []} {
  contains(key, "/noreport/")
} else = {"isSuccess": true, "verifierReports": [report("notation", false), report("notation", true)]} {
  contains(key, "/mixed/")
} else = {"isSuccess": true, "verifierReports": [report("notation", true)]}

report(name, success) = {"name": name, "isSuccess": success, "message": message} {
  message := {true: "verified", false: "not verified"}[success]
}
