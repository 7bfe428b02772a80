package image_integrity_notation_verification

import data.lib.containers
import data.lib.pod
import data.lib.request

# One question about all images: the provider may ask a registry for each.
keys = {key |
  container := containers.all[_]
  not containers.excluded_by_image(container)
  key := digest_of(container)
}

answer = external_data({"provider": "ratify-provider", "keys": sort(keys)}) {
  count(keys) > 0
}

# The image as it was asked for if that has a digest; else what runs, once the container does.
digest_of(container) = container.image {
  regex.match("^[^:]+@sha256:", container.image)
} else = status.imageID {
  status := request.object.status.containerStatuses[_]
  status.name == container.name
  status.imageID != ""
} else = container.image

violation[{"msg": msg}] {
  answer.system_error != ""
  msg := sprintf("System error calling external data provider: %v", [answer.system_error])
}

violation[{"msg": msg}] {
  count(answer.errors) > 0
  msg := sprintf("Error validating one or more images: %v", [answer.errors])
}

violation[{"msg": msg}] {
  [subject, verdict] := answer.responses[_]
  report := verdict.verifierReports[_]
  {"notation", "notaryv2"}[report.name]
  not report.isSuccess
  msg := sprintf(
    "Subject %v failed notation verification, please check ratify verifier configuration. Error: %v",
    [subject, error_of(report)],
  )
}

# No verifier was found for the image, or none could read it.
violation[{"msg": msg}] {
  [subject, verdict] := answer.responses[_]
  report := verdict.verifierReports[_]
  not report.name
  not report.isSuccess
  msg := sprintf("%v; Subject: %v; Error: %v", [cause(error_of(report)), subject, error_of(report)])
}

# An image that failed without any report has not been verified either.
violation[{"msg": msg}] {
  [subject, verdict] := answer.responses[_]
  not verdict.isSuccess
  not reported(verdict)
  msg := sprintf("Subject %v failed notation verification, and no verifier reported why", [subject])
}

reported(verdict) {
  verdict.verifierReports[_]
}

error_of(report) = object.get(report, "message", "none")

cause(error) = "signature artifact not found" {
  contains(error, "no referrers found")
} else = "registry access failed" {
  contains(error, "resolving descriptor")
} else = "signature artifact download failed"
