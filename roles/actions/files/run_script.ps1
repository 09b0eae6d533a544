# Copyright (c) 2026, Patchherd contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Runs a script in a PowerShell of its own, bounded in time and output, once; the counterpart of the module run_script.
[CmdletBinding()]
param (
    [Parameter(Mandatory = $true)][string]$ScriptEncoded,
    [int]$TimeoutSeconds = 1800,
    [int]$Limit = 65536,
    [string]$Once = '',
    # Only note the run, start nothing.
    [bool]$ClaimOnly = $false
)

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Test-FirstRun([string]$Name) {
    $place = Join-Path -Path $env:ProgramData -ChildPath 'Patchherd-Actions'
    $null = New-Item -ItemType Directory -Force -Path $place
    $oldest = [DateTime]::UtcNow.AddDays(-30)
    Get-ChildItem -LiteralPath $place | Where-Object -FilterScript { $_.LastWriteTimeUtc -lt $oldest } | Remove-Item -Force
    $path = Join-Path -Path $place -ChildPath $Name
    try {
        [IO.File]::Open($path, [IO.FileMode]::CreateNew).Dispose()
        return $true
    }
    catch {
        if (Test-Path -LiteralPath $path) {
            return $false
        }
        throw
    }
}

function Limit-Text([string]$Text) {
    if ($Text.Length -le $Limit) {
        return $Text
    }
    $half = [int][Math]::Floor($Limit / 2)
    $cut = $Text.Length - 2 * $half
    return $Text.Substring(0, $half) + "`n[... $cut characters are left out here ...]`n" + $Text.Substring($Text.Length - $half)
}

function Get-EpochTime {
    return [Math]::Round(([DateTime]::UtcNow - [DateTime]'1970-01-01').TotalSeconds, 3)
}

$result = @{ exit_code = $null; already = $false; timed_out = $false; stdout = ''; stderr = ''; stdout_cut = 0; stderr_cut = 0 }
$result.started_at = Get-EpochTime
if ($Once -and -not (Test-FirstRun -Name $Once)) {
    $result.already = $true
}
elseif (-not $ClaimOnly) {
    $file = Join-Path -Path $Ansible.Tmpdir -ChildPath 'patchherd-action.ps1'
    $text = [Text.Encoding]::UTF8.GetString([Convert]::FromBase64String($ScriptEncoded))
    # Windows PowerShell takes a file without this mark for one in the code page of the machine.
    [IO.File]::WriteAllText($file, $text, (New-Object -TypeName Text.UTF8Encoding -ArgumentList $true))
    $start = New-Object -TypeName Diagnostics.ProcessStartInfo
    $start.FileName = Join-Path -Path $env:SystemRoot -ChildPath 'System32\WindowsPowerShell\v1.0\powershell.exe'
    $start.Arguments = '-NoProfile -NonInteractive -ExecutionPolicy Bypass -File "' + $file + '"'
    $start.UseShellExecute = $false
    $start.CreateNoWindow = $true
    $start.RedirectStandardOutput = $true
    $start.RedirectStandardError = $true
    $process = [Diagnostics.Process]::Start($start)
    $stdout = $process.StandardOutput.ReadToEndAsync()
    $stderr = $process.StandardError.ReadToEndAsync()
    if ($process.WaitForExit(1000 * $TimeoutSeconds)) {
        $result.exit_code = $process.ExitCode
    }
    else {
        $result.timed_out = $true
        $null = & (Join-Path -Path $env:SystemRoot -ChildPath 'System32\taskkill.exe') /T /F /PID $process.Id
    }
    # What the script has left running may hold its outputs open for ever.
    $null = [Threading.Tasks.Task]::WaitAll(@($stdout, $stderr), 2000)
    foreach ($name in 'stdout', 'stderr') {
        $task = (Get-Variable -Name $name -ValueOnly)
        if ($task.IsCompleted) {
            $result[$name] = Limit-Text -Text $task.Result
            $result[$name + '_cut'] = [Math]::Max(0, $task.Result.Length - $Limit)
        }
    }
    Remove-Item -LiteralPath $file -Force -ErrorAction SilentlyContinue
}
$result.ended_at = Get-EpochTime
$json = ConvertTo-Json -InputObject $result -Compress
$Ansible.Changed = -not $result.already
$Ansible.Result = @{
    exit_code = $result.exit_code
    already = $result.already
    result_encoded = [Convert]::ToBase64String([Text.Encoding]::UTF8.GetBytes($json))
}
