package lib.pod

# The pod that a Pod, a workload or a CronJob makes. A request to delete has none: what leaves breaks no rule.
template = pod {
  pod := input.review.object
  not deleted
  not pod.spec.template
  not pod.spec.jobTemplate
}

template = pod {
  pod := input.review.object.spec.template
  not deleted
}

template = pod {
  pod := input.review.object.spec.jobTemplate.spec.template
  not deleted
}

deleted {
  input.review.operation == "DELETE"
}

default spec = {}

spec = value {
  value := template.spec
}

annotation(key) = value {
  value := template.metadata.annotations[key]
}

# The API server forbids the fields of Linux security contexts on such pods.
windows {
  spec.os.name == "windows"
}
