{{- define "shimward.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "shimward.labels" -}}
app.kubernetes.io/name: shimward
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- /* The parts that all pods of the installer share, whatever their container runs. */ -}}
{{- define "shimward.pod" -}}
serviceAccountName: shimward-installer
automountServiceAccountToken: false # only the container that works on the node has one
volumes:
  - name: account
    projected:
      sources:
        - serviceAccountToken: {path: token}
        - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
hostPID: true # the installer enters the mount namespace of its own shim, which is containerd's
priorityClassName: system-node-critical
terminationGracePeriodSeconds: 10
{{ include "shimward.placed" . }}
{{- end -}}

{{- /* A pod that queries the apiserver, and ends. */ -}}
{{- define "shimward.job" -}}
restartPolicy: Never
{{ include "shimward.placed" . }}
{{- end -}}

{{- define "shimward.placed" -}}
hostNetwork: {{ .Values.installer.hostNetwork }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.installer.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.installer.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* A command on the node. Its arguments are the node's paths. */ -}}
{{- define "shimward.onNode" -}}
image: {{ include "shimward.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  - --node=$(NODE_NAME)
  - --prefix={{ .Values.node.prefix }}
  {{- with .Values.node.containerd.command }}
  - --containerd={{ . }}
  {{- end }}
  {{- with .Values.node.containerd.config }}
  - --containerd-config={{ . }}
  {{- end }}
  {{- with .Values.node.containerd.address }}
  - --address={{ . }}
  {{- end }}
  {{- with .Values.node.config }}
  - --config={{ . }}
  {{- end }}
  {{- if eq .Values.node.containerd.restart "systemd" }}
  - --restart
  {{- end }}
env:
  - name: NODE_NAME
    valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
  - name: PATH # the node's
    value: /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  {{- with include "shimward.apiserver" . }}
  {{- . | nindent 2 }}
  {{- end }}
volumeMounts:
  - {name: account, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
securityContext:
  privileged: true
resources:
  {{- toYaml .Values.installer.resources | nindent 2 }}
{{- end -}}

{{- define "shimward.apiserver" -}}
{{- with .Values.installer.apiserver -}}
{{- if .host -}}
- name: KUBERNETES_SERVICE_HOST
  value: {{ .host | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ .port | quote }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* A container without any privilege. */ -}}
{{- define "shimward.confined" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  runAsUser: 65534
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
resources:
  {{- toYaml .Values.installer.resources | nindent 2 }}
{{- end -}}

{{- /* What the installer's service account in a namespace may do to nodes. For a hook, pass its annotations. */ -}}
{{- define "shimward.ownNode" -}}
# RBAC cannot express "its own node" or "this label". A token that was taken from one node's installer
# must be of no use against another node.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ .name }}
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [""]
        apiVersions: [v1]
        operations: [UPDATE]
        resources: [nodes]
  matchConditions:
    - name: by-an-installer
      expression: >-
        request.userInfo.username == 'system:serviceaccount:{{ .namespace }}:shimward-installer'
  variables:
    - name: node
      expression: >-
        'authentication.kubernetes.io/node-name' in request.userInfo.extra
          ? request.userInfo.extra['authentication.kubernetes.io/node-name'] : []
    - name: labels
      expression: "has(object.metadata.labels) ? object.metadata.labels : {}"
    - name: earlier
      expression: "has(oldObject.metadata.labels) ? oldObject.metadata.labels : {}"
    - name: annotations
      expression: "has(object.metadata.annotations) ? object.metadata.annotations : {}"
    - name: annotated
      expression: "has(oldObject.metadata.annotations) ? oldObject.metadata.annotations : {}"
    - name: finalizers
      expression: "has(object.metadata.finalizers) ? object.metadata.finalizers : []"
    - name: finalized
      expression: "has(oldObject.metadata.finalizers) ? oldObject.metadata.finalizers : []"
    - name: owners
      expression: "has(object.metadata.ownerReferences) ? object.metadata.ownerReferences.map(o, o.uid) : []"
    - name: owned
      expression: "has(oldObject.metadata.ownerReferences) ? oldObject.metadata.ownerReferences.map(o, o.uid) : []"
  validations:
    - expression: "object.metadata.name in variables.node"
      reason: Forbidden
      message: "shimward's installer may label the node that it runs on, and no other"
    - expression: >-
        variables.labels.all(k, k == 'shimward.dev/runtime' || k in variables.earlier && variables.earlier[k] == variables.labels[k]) &&
        variables.earlier.all(k, k == 'shimward.dev/runtime' || k in variables.labels) &&
        variables.annotations == variables.annotated && variables.finalizers == variables.finalized &&
        variables.owners == variables.owned && object.spec == oldObject.spec
      reason: Forbidden
      message: "shimward's installer may change the label shimward.dev/runtime, and nothing else"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny]
{{- end -}}
