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

{{- /* What a pod of the installer's is, whatever its container runs. */ -}}
{{- define "shimward.pod" -}}
serviceAccountName: shimward-installer
hostPID: true # the installer enters the mount namespace of its own shim, which is containerd's
priorityClassName: system-node-critical
terminationGracePeriodSeconds: 10
{{ include "shimward.placed" . }}
{{- end -}}

{{- /* A pod that asks the apiserver, and ends. */ -}}
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
  - --containerd={{ .Values.node.containerd.command }}
  - --containerd-config={{ .Values.node.containerd.config }}
  - --address={{ .Values.node.containerd.address }}
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

{{- /* A container that has nothing and may do nothing. */ -}}
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
