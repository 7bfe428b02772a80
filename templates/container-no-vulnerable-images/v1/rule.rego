package container_no_vulnerable_images

import data.lib.containers
import data.lib.pod
import data.lib.request

levels = {"None": 0, "Low": 1, "Medium": 2, "High": 3}

default threshold = 0

threshold = levels[input.parameters.severityThresholdForExcludingNotPatchableFindings]

ignored = {sprintf("%v", [id]) | id := input.parameters.excludeFindingIDs[_]}

violation[{"msg": msg}] {
  most := input.parameters.severity[severity]
  scan := scans[_]
  found := count([finding | finding := scan.scanFindings[_]; finding.severity == severity; counts(finding)])
  found > most
  msg := sprintf("The image of container %v has %v findings of severity %v; allowed: %v.", [scan.name, found, severity, most])
}

# Defender's webhook annotates the object itself; a workload's pods carry it on their template.
annotated = {text |
  text := [request.object, pod.template][_].metadata.annotations["azuredefender.io/containers.vulnerability.scan.info"]
}

checked_names = {entry.container.name | entry := containers.checked[_]}

scans = {scan |
  scan := json.unmarshal(annotated[_]).containers[_]
  checked_names[scan.name]
}

counts(finding) {
  not ignored[sprintf("%v", [finding.id])]
  not below_threshold(finding)
}

below_threshold(finding) {
  finding.patchable == false
  levels[finding.severity] <= threshold
}
