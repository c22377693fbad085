# This script has not been run on Windows: its tests only parse it. docs/windows.md lists what to look at in the first real run.
#Requires -Version 5.1
#Requires -PSEdition Desktop

<#
.SYNOPSIS
    Makes a Windows machine a host for the stack in WSL2, and gives the stack a Chrome that runs on Windows.

.DESCRIPTION
    -Check    (the default) changes nothing, prints what is there and what is missing, exits 1 when something is missing.
    -Apply    sets up what is missing. Safe to run again. Needs an elevated PowerShell.
    -WhatIf   with -Apply: prints what it would do, changes nothing.

    Exit codes: 0 nothing is missing, 1 -Check found something missing, 2 an error, reported in one line.

    Chrome's debugging port has no authentication: whoever reaches it controls the browser and every login in it. Chrome
    listens on loopback only. A port proxy opens it on one address of the WSL adapter, for the WSL subnet, and nowhere else.

    Not here: sleep and hibernation, and the removal of what was set up. docs/windows.md has the commands for both.

.PARAMETER Distribution
    Name of the WSL distribution that runs the stack. Default: WSL's default distribution.

.PARAMETER MemoryGB
    Memory for WSL. Default: two thirds of the machine's, at least 8 where 2 remain for Windows.

.PARAMETER ProxyPort
    Port on which the stack offers its egress proxy (browser.proxy_port in the stack file).

.PARAMETER DebugPort
    Port of Chrome's remote debugging.

.PARAMETER LoopbackPorts
    Ports of programs on this machine that pages may reach on 127.0.0.1 and localhost, past the egress proxy: '14430,34581'.

.PARAMETER ProfileFolder
    Profile of that Chrome. Since Chrome 136 the default profile cannot be debugged.

.PARAMETER Address
    Private IPv4 address that the WSL adapter gets in addition to its own, which changes at every restart of Windows.

.PARAMETER NoChrome
    Without Chrome and everything that leads to it: only memory and the start at boot.

.PARAMETER Boot
    For the boot task: starts the distribution, opens the port to Chrome, waits, and starts again when WSL has stopped.

.EXAMPLE
    powershell -ExecutionPolicy Bypass -File skyvern-windows.ps1 -Check

.EXAMPLE
    powershell -ExecutionPolicy Bypass -File skyvern-windows.ps1 -Apply -Distribution Ubuntu-24.04 -MemoryGB 24
#>

# Text and no attributes of validation: a wrong value is one line of ours, not several of PowerShell's.
[CmdletBinding(SupportsShouldProcess = $true, PositionalBinding = $false)]
param(
    [switch]$Check,
    [switch]$Apply,
    [switch]$Boot,
    [string]$Distribution = '',
    [string]$MemoryGB = '',
    [string]$ProxyPort = '3128',
    [string]$DebugPort = '9222',
    [string]$LoopbackPorts = '',
    [string]$ProfileFolder = 'C:\chrome-skyvern-profile',
    [string]$Address = '10.222.222.1',
    [switch]$NoChrome,
    [Parameter(ValueFromRemainingArguments = $true)] [string[]]$Unknown
)

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
trap {
    [Console]::Error.WriteLine("skyvern-windows.ps1: $($_.Exception.Message -replace '\s+', ' ')")
    exit 2
}

# Only administrators can write here, and the boot task runs the script from here with their rights.
$Folder = Join-Path -Path $env:ProgramFiles -ChildPath 'skyvern-stack'
$InstalledScript = Join-Path -Path $Folder -ChildPath 'skyvern-windows.ps1'
$BootLog = Join-Path -Path $Folder -ChildPath 'boot.log'
$WslConfig = Join-Path -Path $env:USERPROFILE -ChildPath '.wslconfig'
$PortProxyKey = 'HKLM:\SYSTEM\CurrentControlSet\Services\PortProxy\v4tov4\tcp'
$BootTask = 'Skyvern stack - WSL at boot'
$ChromeTask = 'Skyvern stack - Chrome at logon'
$FirewallRule = 'SkyvernStack-Chrome'
$User = [Security.Principal.WindowsIdentity]::GetCurrent()
$Missing = 0

$Loopback = @($LoopbackPorts -split ',' | Where-Object -FilterScript { $_ })
# Chrome compares host and port as the URL has them, and the last rule that fits counts: nothing but these goes past the proxy.
$PastProxy = -join @($Loopback | ForEach-Object -Process { ";127.0.0.1:$_;localhost:$_" })
# Equal to the stack's own browsers apart from the proxy's address and these ports. No --remote-debugging-address: loopback is
# the default.
$ChromeArguments = @(
    "--remote-debugging-port=$DebugPort"
    "--user-data-dir=`"$ProfileFolder`""
    "--proxy-server=http://127.0.0.1:$ProxyPort"
    "--proxy-bypass-list=<-loopback>$PastProxy"
    '--webrtc-ip-handling-policy=disable_non_proxied_udp'
    '--force-webrtc-ip-handling-policy=disable_non_proxied_udp'
    '--no-first-run'
    '--no-default-browser-check'
)

function Invoke-Check {
    # Find gives '' or what is missing, and Fix is what -Apply does about it. Without Fix only a person can help: the finding has
    # the cure behind a semicolon, and -Apply ends there.
    param([string]$What, [scriptblock]$Find, [scriptblock]$Fix)
    try {
        $finding = "$(& $Find)"
    } catch {
        $finding = "cannot be read: $($_.Exception.Message -replace '\s+', ' ')"
    }
    if (-not $finding) {
        return "ok       $What"
    }
    if ($Apply -and -not $Fix) {
        throw "${What}: $finding"
    }
    if (-not $Apply) {
        $script:Missing += 1
        return "missing  ${What}: $finding$(if ($Fix) { '; run -Apply' })"
    }
    if ($PSCmdlet.ShouldProcess($What, "apply ($finding)")) {
        Write-Output "changing ${What}: $finding"
        & $Fix
    }
}

# ---- Windows. Registry and numbers only: the text of Windows's tools is in the language of the machine.

function Invoke-Native {
    param([string]$File, [string[]]$Arguments, [switch]$AllowFailure)
    # Under 'Stop', Windows PowerShell makes a terminating error of the first line on standard error.
    $ErrorActionPreference = 'Continue'
    $lines = @(& $File @Arguments 2>&1 | ForEach-Object -Process { "$_" })
    if ($LASTEXITCODE -ne 0 -and -not $AllowFailure) {
        throw "$File $($Arguments -join ' ') failed with ${LASTEXITCODE}: $($lines -join ' ')"
    }
    return $lines
}

function Get-RegistryValue {
    param([string]$Path, [string]$Name)
    if (Test-Path -LiteralPath $Path) {
        return (Get-Item -LiteralPath $Path).GetValue($Name, $null)
    }
}

function Get-WslAdapter {
    # "vEthernet (WSL)" or "vEthernet (WSL (Hyper-V firewall))"; there only once WSL has run since Windows started.
    $own = Get-NetIPAddress -AddressFamily IPv4 -InterfaceAlias 'vEthernet (WSL*' -ErrorAction SilentlyContinue |
        Where-Object -FilterScript { $_.PrefixLength -lt 32 } | Select-Object -First 1
    if ($null -eq $own) {
        return $null
    }
    $octets = ([Net.IPAddress]$own.IPAddress).GetAddressBytes()
    $network = @()
    $mask = @()
    $bits = ('1' * $own.PrefixLength).PadRight(32, '0')
    for ($index = 0; $index -lt 4; $index++) {
        $part = [Convert]::ToInt32($bits.Substring(8 * $index, 8), 2)
        $mask += $part
        $network += $octets[$index] -band $part
    }
    # The form in which the firewall gives a subnet back.
    return [pscustomobject]@{ Alias = $own.InterfaceAlias; Subnet = "$($network -join '.')/$($mask -join '.')" }
}

function Test-TcpPort {
    param([string]$Port)
    $client = New-Object -TypeName Net.Sockets.TcpClient
    try {
        return $client.ConnectAsync('127.0.0.1', [int]$Port).Wait(3000)
    } catch {
        return $false
    } finally {
        $client.Close()
    }
}

function Test-OwnTask {
    param([string]$Name, [string]$Arguments)
    $task = Get-ScheduledTask -TaskName $Name -ErrorAction SilentlyContinue
    if ($null -eq $task) {
        return 'the task is missing'
    }
    if (@($task.Actions)[0].Arguments -ne $Arguments) {
        return 'the task is for other settings'
    }
    if ("$($task.State)" -eq 'Disabled') {
        return 'the task is disabled'
    }
}

function Register-OwnTask {
    param([string]$Name, [string]$Program, [string]$Arguments, $Trigger, $Principal)
    if (Get-ScheduledTask -TaskName $Name -ErrorAction SilentlyContinue) {
        Stop-ScheduledTask -TaskName $Name
    }
    $action = New-ScheduledTaskAction -Execute $Program -Argument $Arguments
    # The defaults end a task after three days, want mains power, and give its programs a lower priority than others.
    $settings = New-ScheduledTaskSettingsSet -ExecutionTimeLimit ([TimeSpan]::Zero) -MultipleInstances IgnoreNew `
        -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries -StartWhenAvailable -Priority 5
    [void](Register-ScheduledTask -TaskName $Name -Action $action -Trigger $Trigger -Principal $Principal `
            -Settings $settings -Force)
}

function Write-BootLog {
    param([string]$Message)
    $lines = @(Get-Content -LiteralPath $BootLog -Tail 200 -ErrorAction SilentlyContinue)
    Set-Content -LiteralPath $BootLog -Encoding UTF8 -Value ($lines + "$(Get-Date -Format s) $Message")
}

# ---- .wslconfig: the user's INI file, in which two keys are the stack's.

function Find-IniLine {
    # The index of the key's line in its section, and of the section's last line; -1 for what is not there.
    param([string[]]$Lines, [string]$Section, [string]$Key)
    $place = @{ Key = -1; End = -1 }
    $current = ''
    for ($index = 0; $index -lt $Lines.Length; $index++) {
        if ($Lines[$index] -match '^\s*\[([^\]]+)\]') {
            $current = $Matches[1].Trim()
        }
        if ($current -eq $Section) {
            if ($Lines[$index].Trim()) {
                $place.End = $index
            }
            if ($Lines[$index] -match "^\s*$([regex]::Escape($Key))\s*=") {
                $place.Key = $index
            }
        }
    }
    return $place
}

function Get-IniValue {
    param([string]$Text, [string]$Section, [string]$Key)
    $lines = [string[]]($Text -split '\r?\n')
    $place = Find-IniLine -Lines $lines -Section $Section -Key $Key
    if ($place.Key -lt 0) {
        return ''
    }
    return (($lines[$place.Key] -split '=', 2)[1] -split '#', 2)[0].Trim()
}

function Set-IniValue {
    # The text with the key set; every other line stays as it is.
    param([string]$Text, [string]$Section, [string]$Key, [string]$Value)
    if ($Value -eq (Get-IniValue -Text $Text -Section $Section -Key $Key)) {
        return $Text
    }
    $lines = New-Object -TypeName 'Collections.Generic.List[string]'
    $lines.AddRange([string[]]($Text -split '\r?\n'))
    $place = Find-IniLine -Lines $lines.ToArray() -Section $Section -Key $Key
    if ($place.Key -ge 0) {
        $comment = ''
        if ($lines[$place.Key] -match '(\s*#.*)$') {
            $comment = $Matches[1]
        }
        $lines[$place.Key] = "$Key=$Value$comment"
    } elseif ($place.End -ge 0) {
        $lines.Insert($place.End + 1, "$Key=$Value")
    } else {
        while ($lines.Count -gt 0 -and -not $lines[$lines.Count - 1].Trim()) {
            $lines.RemoveAt($lines.Count - 1)
        }
        if ($lines.Count -gt 0) {
            $lines.Add('')
        }
        $lines.AddRange([string[]]@("[$Section]", "$Key=$Value", ''))
    }
    return $lines -join "`r`n"
}

# ---- The way from WSL to Chrome. The boot task opens it again at every start, because WSL's adapter and subnet are new then.

function Test-Address {
    $taken = @(Get-NetIPAddress -IPAddress $Address -ErrorAction SilentlyContinue)
    if ($taken.Length -gt 0 -and $taken[0].InterfaceAlias -notlike 'vEthernet (WSL*') {
        return "$Address belongs to $($taken[0].InterfaceAlias); choose another private address with -Address"
    }
}

function Open-WayToChrome {
    $adapter = Get-WslAdapter
    $deadline = (Get-Date).AddSeconds(120)
    while (-not $adapter) {
        if ((Get-Date) -gt $deadline) {
            throw "the WSL adapter did not appear within 120 s; try: wsl -d $Distribution"
        }
        Start-Sleep -Seconds 1
        $adapter = Get-WslAdapter
    }

    $foreign = Test-Address
    if ($foreign) {
        throw $foreign
    }
    if (-not (Get-NetIPAddress -IPAddress $Address -ErrorAction SilentlyContinue)) {
        # /32: no route changes. WSL reaches it through its default gateway, which is this adapter.
        [void](New-NetIPAddress -InterfaceAlias $adapter.Alias -IPAddress $Address -PrefixLength 32 `
                -SkipAsSource $true -PolicyStore ActiveStore)
    }
    # Nothing can listen on it until Windows has made sure that no other machine has it.
    $deadline = (Get-Date).AddSeconds(15)
    while ("$((Get-NetIPAddress -IPAddress $Address).AddressState)" -ne 'Preferred') {
        if ((Get-Date) -gt $deadline) {
            throw "$Address did not become usable on $($adapter.Alias); choose another private address with -Address"
        }
        Start-Sleep -Milliseconds 200
    }

    # The rule of an -Apply with another -Address or -DebugPort names the port proxy that has to go.
    $entries = @("$Address/$DebugPort")
    $rule = Get-NetFirewallRule -Name $FirewallRule -ErrorAction SilentlyContinue
    if ($rule) {
        $entries += "$(($rule | Get-NetFirewallAddressFilter).LocalAddress)/$(($rule | Get-NetFirewallPortFilter).LocalPort)"
        Remove-NetFirewallRule -Name $FirewallRule
    }
    [void](New-NetFirewallRule -Name $FirewallRule -DisplayName 'Skyvern stack: Chrome debugging from WSL' -Direction Inbound `
            -Action Allow -Protocol TCP -LocalAddress $Address -LocalPort $DebugPort -RemoteAddress $adapter.Subnet `
            -InterfaceAlias $adapter.Alias)

    # Removed first: an entry whose address was not there when Windows started listens nowhere until it is added again.
    foreach ($entry in @($entries | Select-Object -Unique)) {
        $listen = $entry.Split('/')
        if ((Get-RegistryValue -Path $PortProxyKey -Name $entry) -eq "127.0.0.1/$($listen[1])") {
            [void](Invoke-Native -File 'netsh.exe' -Arguments @('interface', 'portproxy', 'delete', 'v4tov4',
                    "listenaddress=$($listen[0])", "listenport=$($listen[1])"))
        }
    }
    Start-Service -Name 'iphlpsvc'
    [void](Invoke-Native -File 'netsh.exe' -Arguments @('interface', 'portproxy', 'add', 'v4tov4',
            "listenaddress=$Address", "listenport=$DebugPort", 'connectaddress=127.0.0.1', "connectport=$DebugPort"))
}

# ---- Wrong input, before anything is read or changed.

function Assert-Number {
    param([string]$Name, [string]$Value, [int]$Least, [int]$Most)
    if ($Value -notmatch '^[1-9]\d{0,4}$' -or [int]$Value -lt $Least -or [int]$Value -gt $Most) {
        throw "-$Name '$Value' is not a number from $Least to $Most"
    }
}

if ($Unknown) {
    throw "'$Unknown' is not a parameter; docs/windows.md has a table of them"
}
if (($Check -and $Apply) -or ($Boot -and ($Check -or $Apply))) {
    throw 'write one of -Check, -Apply and -Boot'
}
if ($Boot -and -not $Distribution) {
    throw '-Boot is for the boot task and needs -Distribution; write -Check or -Apply'
}
if ($MemoryGB) {
    Assert-Number -Name 'MemoryGB' -Value $MemoryGB -Least 2 -Most 4096
}
Assert-Number -Name 'ProxyPort' -Value $ProxyPort -Least 1 -Most 65535
Assert-Number -Name 'DebugPort' -Value $DebugPort -Least 1 -Most 65535
if ($ProxyPort -eq $DebugPort) {
    throw "-ProxyPort and -DebugPort are both $DebugPort; choose another -DebugPort"
}
foreach ($port in $Loopback) {
    Assert-Number -Name 'LoopbackPorts' -Value $port -Least 1 -Most 65535
    if ([int]$port -eq [int]$DebugPort) {
        throw "-LoopbackPorts '$LoopbackPorts' has Chrome's debugging port, by which a page would drive it; remove $port"
    }
}
if ($ProfileFolder -notmatch '^[A-Za-z]:\\[^"]*[^"\\]$') {
    throw "-ProfileFolder '$ProfileFolder' is not a folder's full path; write it like C:\chrome-skyvern-profile"
}
# The comparison refuses the short forms of an address, such as 10.1.
if ($Address -notmatch '^(10|172\.(1[6-9]|2\d|3[01])|192\.168)\.' -or "$($Address -as [Net.IPAddress])" -ne $Address) {
    throw "-Address '$Address' is not a private IPv4 address; write one like 10.222.222.1"
}

# ---- -Boot. Task Scheduler does not restart a task that ends with an error, so the loop is here.

while ($Boot) {
    try {
        # A process of Windows inside the distribution: WSL stops neither as long as it lives.
        $words = @('-d', $Distribution, '--exec', 'sleep', 'infinity')
        $keeper = Start-Process -FilePath 'wsl.exe' -ArgumentList $words -WindowStyle Hidden -PassThru
        Write-BootLog -Message "starting $Distribution"
        if (-not $NoChrome) {
            try {
                Open-WayToChrome
                Write-BootLog -Message "${Address}:$DebugPort leads to Chrome"
            } catch {
                Write-BootLog -Message $_.Exception.Message
            }
        }
        $keeper.WaitForExit()
        Write-BootLog -Message "$Distribution has stopped"
    } catch {
        Write-BootLog -Message $_.Exception.Message
    }
    Start-Sleep -Seconds 30
}

# ---- Manual fixes. -Apply looks at all of them before its first change, so it has changed nothing when it refuses.

$administrator = [Security.Principal.WindowsBuiltInRole]::Administrator
if ($Apply -and -not ([Security.Principal.WindowsPrincipal]$User).IsInRole($administrator)) {
    throw '-Apply changes the machine; start PowerShell with "Run as administrator", as the user whose WSL it is'
}

Invoke-Check -What 'WSL' -Find {
    if (-not (Get-Command -Name 'wsl.exe' -ErrorAction SilentlyContinue)) {
        return 'it is not installed; run "wsl --install" and restart Windows'
    }
    # Without it wsl.exe writes UTF-16 into a pipe.
    $env:WSL_UTF8 = '1'
    $text = (Invoke-Native -File 'wsl.exe' -Arguments @('--version') -AllowFailure) -join ' '
    $version = ''
    if ($text -match '(\d+\.\d+\.\d+)') {
        $version = $Matches[1]
    }
    # Older ones stop a distribution in spite of running services and do not know instanceIdleTimeout.
    if (-not $version -or [version]$version -lt [version]'2.5.7') {
        return "version '$version' is too old to keep a distribution running (2.5.7 or newer); run: wsl --update"
    }
}

$lxss = 'HKCU:\Software\Microsoft\Windows\CurrentVersion\Lxss'
$distributions = @()
if (Test-Path -LiteralPath $lxss) {
    $distributions = @(Get-ChildItem -LiteralPath $lxss | Where-Object -FilterScript {
            $_.GetValue('DistributionName') -and $_.GetValue('DistributionName') -notlike 'docker-desktop*'
        })
}
$default = Get-RegistryValue -Path $lxss -Name 'DefaultDistribution'
$chosen = $distributions | Where-Object -FilterScript {
    ($Distribution -and $_.GetValue('DistributionName') -eq $Distribution) -or (-not $Distribution -and $_.PSChildName -eq $default)
}
Invoke-Check -What 'WSL distribution' -Find {
    $names = @($distributions | ForEach-Object -Process { $_.GetValue('DistributionName') })
    if ($names.Length -eq 0) {
        return "$($User.Name) has none for the stack; run as the user who has, or: wsl --install -d Ubuntu-24.04"
    }
    if (-not $chosen -and $Distribution) {
        return "there is no $Distribution; choose one with -Distribution: $($names -join ', ')"
    }
    if (-not $chosen) {
        return "the default distribution cannot run the stack; choose one with -Distribution: $($names -join ', ')"
    }
    # Bit 3 is the virtual machine, so WSL 2. The value "Version" is that of the disk's layout.
    if (-not ([int]$chosen.GetValue('Flags', 0) -band 8)) {
        $name = $chosen.GetValue('DistributionName')
        return "$name is WSL 1, which cannot run Docker; run: wsl --set-version $name 2"
    }
}
if ($chosen) {
    $Distribution = $chosen.GetValue('DistributionName')
}

$config = ''
if (Test-Path -LiteralPath $WslConfig) {
    $config = [IO.File]::ReadAllText($WslConfig)
}
$chrome = @(
    (Get-RegistryValue -Path 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\App Paths\chrome.exe' -Name '')
    (Get-RegistryValue -Path 'HKCU:\SOFTWARE\Microsoft\Windows\CurrentVersion\App Paths\chrome.exe' -Name '')
    (Join-Path -Path $env:ProgramFiles -ChildPath 'Google\Chrome\Application\chrome.exe')
) | Where-Object -FilterScript { $_ -and (Test-Path -LiteralPath $_) } | Select-Object -First 1

if (-not $NoChrome) {
    Invoke-Check -What 'WSL networking' -Find {
        foreach ($section in 'wsl2', 'experimental') {
            $mode = Get-IniValue -Text $config -Section $section -Key 'networkingMode'
            if ($mode -and $mode -ne 'nat') {
                return "networkingMode=$mode in $WslConfig keeps containers from Chrome on Windows; remove the line, or use -NoChrome"
            }
        }
        if ((Get-IniValue -Text $config -Section 'wsl2' -Key 'localhostForwarding') -eq 'false') {
            return "localhostForwarding=false in $WslConfig keeps Chrome from the egress proxy; remove the line, or use -NoChrome"
        }
    }
    Invoke-Check -What 'Google Chrome' -Find {
        if (-not $chrome) {
            return 'it is not installed; install it from google.com/chrome, or use -NoChrome'
        }
    }
    Invoke-Check -What 'Chrome profile' -Find {
        # Its permissions get replaced, so a folder that holds something else stays as it is.
        if ((Test-Path -LiteralPath $ProfileFolder) -and @(Get-ChildItem -LiteralPath $ProfileFolder -Force).Length -gt 0 -and
            -not (Test-Path -LiteralPath (Join-Path -Path $ProfileFolder -ChildPath 'Local State'))) {
            return "$ProfileFolder holds something that is not a Chrome profile; choose another folder with -ProfileFolder"
        }
    }
    Invoke-Check -What 'Windows Firewall' -Find {
        $off = @(Get-NetFirewallProfile | Where-Object -FilterScript { "$($_.Enabled)" -eq 'False' })
        if ($off.Length -gt 0) {
            return "it is off for $(@($off | ForEach-Object -Process { $_.Name }) -join ', '); turn it on"
        }
    }
    Invoke-Check -What 'Address' -Find {
        Test-Address
    }
    Invoke-Check -What 'Debugging port' -Find {
        $proxied = Get-RegistryValue -Path $PortProxyKey -Name "$Address/$DebugPort"
        if ($proxied -and $proxied -ne "127.0.0.1/$DebugPort") {
            return "another port proxy leads from ${Address}:$DebugPort to $proxied; choose another port with -DebugPort"
        }
        # The port proxy itself listens in svchost.
        foreach ($connection in @(Get-NetTCPConnection -LocalPort $DebugPort -State Listen -ErrorAction SilentlyContinue)) {
            $name = "$(Get-Process -Id $connection.OwningProcess -ErrorAction SilentlyContinue | ForEach-Object -Process { $_.Name })"
            $place = "$($connection.LocalAddress):$DebugPort"
            if ($name -ne 'chrome' -and $connection.LocalAddress -ne $Address) {
                return "$place is taken by $name ($($connection.OwningProcess)); end it or choose another port with -DebugPort"
            }
            if ($connection.LocalAddress -notin '127.0.0.1', '::1', $Address) {
                return "$name listens on $place, which others may reach; start it without --remote-debugging-address"
            }
        }
    }
}
if ($Missing -gt 0) {
    # Without WSL the rest is one and the same finding many times over.
    exit 1
}

# ---- The steps. The boot task starts last: it opens the way to Chrome too, and two at a time would be in each other's way.

Invoke-Check -What 'This script where the boot task finds it' -Find {
    if (-not (Test-Path -LiteralPath $InstalledScript)) {
        return "$InstalledScript is missing"
    }
    if ((Get-FileHash -LiteralPath $InstalledScript).Hash -ne (Get-FileHash -LiteralPath $PSCommandPath).Hash) {
        return "$InstalledScript is another version"
    }
} -Fix {
    [void](New-Item -ItemType Directory -Path $Folder -Force)
    Copy-Item -LiteralPath $PSCommandPath -Destination $InstalledScript -Force
}

$memory = Get-IniValue -Text $config -Section 'wsl2' -Key 'memory'
$wantedMemory = $memory
if ($MemoryGB) {
    $wantedMemory = "${MemoryGB}GB"
} elseif (-not $memory) {
    $total = [Math]::Round((Get-CimInstance -ClassName Win32_ComputerSystem).TotalPhysicalMemory / 1gb)
    $wantedMemory = "$([Math]::Min([Math]::Max([Math]::Floor($total * 2 / 3), 8), $total - 2))GB"
}
$wantedConfig = Set-IniValue -Text $config -Section 'wsl2' -Key 'memory' -Value $wantedMemory
# A distribution that never counts as idle keeps the virtual machine running too, so vmIdleTimeout is not needed.
$wantedConfig = Set-IniValue -Text $wantedConfig -Section 'general' -Key 'instanceIdleTimeout' -Value '-1'
Invoke-Check -What "WSL's memory and no idle stop" -Find {
    if ($wantedConfig -cne $config) {
        $idle = Get-IniValue -Text $config -Section 'general' -Key 'instanceIdleTimeout'
        return "memory '$memory' and instanceIdleTimeout '$idle' have to be $wantedMemory and -1"
    }
} -Fix {
    # WSL reads UTF-8; a byte order mark would become part of the first section's name.
    [IO.File]::WriteAllText($WslConfig, $wantedConfig, (New-Object -TypeName Text.UTF8Encoding -ArgumentList $false))
    Write-Output '    counts from the next start of WSL; "wsl --shutdown" stops every distribution now'
}

$bootArguments = "-NoProfile -NonInteractive -ExecutionPolicy Bypass -File `"$InstalledScript`" -Boot" +
    " -Distribution $Distribution -ProxyPort $ProxyPort -DebugPort $DebugPort -Address $Address"
if ($NoChrome) {
    $bootArguments += ' -NoChrome'
}
Invoke-Check -What 'WSL starts with Windows and stays' -Find {
    Test-OwnTask -Name $BootTask -Arguments $bootArguments
} -Fix {
    # A distribution belongs to a Windows user, so the task runs as that user and not as SYSTEM. S4U is "run whether the user
    # is logged on or not" without a stored password; the rights are for address, port proxy and firewall.
    Register-OwnTask -Name $BootTask -Program (Join-Path -Path $PSHOME -ChildPath 'powershell.exe') -Arguments $bootArguments `
        -Trigger (New-ScheduledTaskTrigger -AtStartup) `
        -Principal (New-ScheduledTaskPrincipal -UserId $User.Name -LogonType S4U -RunLevel Highest)
}

if (-not $NoChrome) {
    Invoke-Check -What 'From a fixed address to Chrome, for the WSL subnet only' -Find {
        $adapter = Get-WslAdapter
        if (-not $adapter) {
            return 'there is no WSL adapter: WSL has not run since Windows started'
        }
        if (-not (Get-NetIPAddress -InterfaceAlias $adapter.Alias -IPAddress $Address -ErrorAction SilentlyContinue)) {
            return "$($adapter.Alias) lacks $Address"
        }
        $rule = Get-NetFirewallRule -Name $FirewallRule -ErrorAction SilentlyContinue
        if (-not $rule) {
            return "no firewall rule lets WSL reach port $DebugPort"
        }
        $addresses = $rule | Get-NetFirewallAddressFilter
        $allowed = @($addresses.LocalAddress, $addresses.RemoteAddress, ($rule | Get-NetFirewallPortFilter).LocalPort,
            ($rule | Get-NetFirewallInterfaceFilter).InterfaceAlias) -join ' '
        if ($allowed -ne (@($Address, $adapter.Subnet, $DebugPort, $adapter.Alias) -join ' ') -or "$($rule.Enabled)" -ne 'True') {
            return "the firewall rule is for '$allowed'"
        }
        if ((Get-RegistryValue -Path $PortProxyKey -Name "$Address/$DebugPort") -ne "127.0.0.1/$DebugPort") {
            return "no port proxy from ${Address}:$DebugPort to 127.0.0.1:$DebugPort"
        }
    } -Fix {
        # WSL brings the adapter.
        [void](Invoke-Native -File 'wsl.exe' -Arguments @('-d', $Distribution, '--exec', 'true'))
        Open-WayToChrome
    }

    Invoke-Check -What 'A Chrome profile that only you can read' -Find {
        if (-not (Test-Path -LiteralPath $ProfileFolder)) {
            return "$ProfileFolder is missing"
        }
        $others = @((Get-Acl -LiteralPath $ProfileFolder).Access | Where-Object -FilterScript {
                $identity = $_.IdentityReference.Translate([Security.Principal.SecurityIdentifier]).Value
                $identity -notin @('S-1-5-18', 'S-1-5-32-544', $User.User.Value)
            })
        if ($others.Length -gt 0) {
            return "$ProfileFolder, which holds logins, is open to others"
        }
    } -Fix {
        [void](New-Item -ItemType Directory -Path $ProfileFolder -Force)
        # Full control for the user, SYSTEM and administrators, by identifier: their names are in the language of the machine.
        # Set-Acl would write the owner as well, which needs a privilege more.
        $security = New-Object -TypeName Security.AccessControl.DirectorySecurity
        $security.SetSecurityDescriptorSddlForm("D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;$($User.User.Value))", 'Access')
        (Get-Item -LiteralPath $ProfileFolder).SetAccessControl($security)
    }

    Invoke-Check -What 'Chrome with debugging and egress proxy' -Find {
        Test-OwnTask -Name $ChromeTask -Arguments ($ChromeArguments -join ' ')
    } -Fix {
        # Chrome needs a desktop, so it starts with the user's login and without raised rights. One that still runs in this
        # profile is stopped first: it would take the new start over and keep its old flags.
        Register-OwnTask -Name $ChromeTask -Program $chrome -Arguments ($ChromeArguments -join ' ') `
            -Trigger (New-ScheduledTaskTrigger -AtLogOn -User $User.Name) `
            -Principal (New-ScheduledTaskPrincipal -UserId $User.Name -LogonType Interactive -RunLevel Limited)
        Start-ScheduledTask -TaskName $ChromeTask
    }
}

Invoke-Check -What 'WSL is kept running now' -Find {
    $task = Get-ScheduledTask -TaskName $BootTask -ErrorAction SilentlyContinue
    if ($null -eq $task -or "$($task.State)" -ne 'Running') {
        return "the boot task does not run (its last lines are in $BootLog)"
    }
} -Fix {
    Start-ScheduledTask -TaskName $BootTask
}
if ($Apply) {
    Write-Output 'Now run -Check with the same parameters: it also looks at what has to be running.'
    exit 0
}

# ---- Manual fixes again: what has to be running.

if (-not $NoChrome) {
    Invoke-Check -What 'Chrome answers' -Find {
        if (-not (Test-TcpPort -Port $DebugPort)) {
            return "nothing on 127.0.0.1:$DebugPort; log in to Windows, end Chrome, run: Start-ScheduledTask '$ChromeTask'"
        }
    }
    Invoke-Check -What 'WSL reaches it' -Find {
        if (-not (Get-WslAdapter)) {
            return "WSL does not run; run: Start-ScheduledTask '$BootTask'"
        }
        $probe = "exec 3<>/dev/tcp/$Address/$DebugPort"
        [void](Invoke-Native -File 'wsl.exe' -AllowFailure -Arguments @(
                '-d', $Distribution, '--exec', 'timeout', '5', 'bash', '-c', $probe))
        if ($LASTEXITCODE -ne 0) {
            return "WSL does not reach ${Address}:$DebugPort; run -Apply, and see whether a VPN or another firewall is in the way"
        }
    }
    Invoke-Check -What 'Egress proxy answers' -Find {
        if (-not (Test-TcpPort -Port $ProxyPort)) {
            return "nothing on 127.0.0.1:$ProxyPort; set browser.proxy_port: $ProxyPort in the stack file and run pulumi up in WSL"
        }
    }
}
exit [int]($Missing -gt 0)
