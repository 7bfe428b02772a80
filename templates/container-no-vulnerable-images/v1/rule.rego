package container_no_vulnerable_images

import data.lib.request

# What Microsoft Defender for Cloud found, an entry for each image; nothing where it cannot be read.
entries = json.unmarshal(
  request.object.metadata.annotations["azuredefender.io/containers.vulnerability.scan.info"]
).containers

violation[{"msg": msg}] {
  entry := entries[_]
  entry.scanStatus == "unscanned"
  not excluded(entry)
  msg := sprintf(
    "Image <%v> under container <%v> must be scanned for vulnerabilities by Defender for Cloud before deployment, additionalData: <%v>",
    [entry.image.name, entry.name, object.get(entry, "additionalData", "None")],
  )
}

violation[{"msg": msg}] {
  entry := entries[_]
  entry.scanStatus == "unhealthyScan"
  not excluded(entry)
  too_many := [sprintf("%v %v (at most %v)", [found, severity, most]) |
    severity := ["High", "Medium", "Low"][_]
    most := input.parameters.severity[severity]
    found := count([finding | finding := entry.scanFindings[_]; finding.severity == severity; counts(finding)])
    found > most
  ]
  count(too_many) > 0
  msg := sprintf(
    "Image <%v> under container <%v> with digest <%v>, has vulnerabilities that are not allowed: %v",
    [entry.image.name, entry.name, object.get(entry.image, "digest", "None"), concat(", ", too_many)],
  )
}

excluded(entry) {
  regex.match(input.parameters.excludedImages[_], entry.image.name)
}

counts(finding) {
  not listed(finding.id)
  not negligible(finding)
}

listed(id) {
  id == input.parameters.excludeFindingIDs[_]
}

# What nobody can patch counts only above the threshold, and without one not at all.
negligible(finding) {
  not finding.patchable
  not above_threshold(finding.severity)
}

above_threshold(severity) {
  levels[level] == severity
  levels[threshold] == input.parameters.severityThresholdForExcludingNotPatchableFindings
  level > threshold
}

levels = ["None", "Low", "Medium", "High"]
