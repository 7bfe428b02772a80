package lib.pod

import data.lib.request

# The pod that a Pod, a workload or a CronJob makes.
template = pod {
  pod := request.object
  not pod.spec.template
  not pod.spec.jobTemplate
}

template = request.object.spec.template

template = request.object.spec.jobTemplate.spec.template

default spec = {}

spec = template.spec

annotation(key) = template.metadata.annotations[key]

# On such pods the API server forbids most fields of a Linux security context, so none of them can be asked for.
windows {
  spec.os.name == "windows"
}
