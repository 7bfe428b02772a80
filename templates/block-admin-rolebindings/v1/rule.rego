package block_admin_rolebindings

import data.lib.request

violation[{"msg": msg}] {
  binding := request.object
  binding.roleRef.kind == "ClusterRole"
  binding.roleRef.name == "cluster-admin"
  not of_kubernetes(binding)
  msg := sprintf("%v %v must not refer to the cluster role cluster-admin.", [binding.kind, request.name])
}

# Every cluster has this one, for system:masters alone, and the API server restores it.
of_kubernetes(binding) {
  binding.kind == "ClusterRoleBinding"
  binding.metadata.name == "cluster-admin"
  {[subject.kind, subject.name] | subject := binding.subjects[_]} == {["Group", "system:masters"]}
}
