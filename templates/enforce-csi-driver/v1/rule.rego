package enforce_csi_driver

import data.lib.request

violation[{"msg": msg}] {
  provisioner := request.object.provisioner
  {"kubernetes.io/azure-disk", "kubernetes.io/azure-file"}[provisioner]
  msg := sprintf("Storage class %v use intree provisioner %v is not allowed", [request.name, provisioner])
}
